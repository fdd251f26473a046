"""What all learners share: optimisers, the update loop, metrics without synchronisation."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Adam

from torchrl_lite.accel import Stepper
from torchrl_lite.network import Actor
from torchrl_lite.replay_buffer import ReplayBuffer
from torchrl_lite.types import Batch, Noise, Spec


class Learner(nn.Module):
    """An algorithm's networks, optimisers and mathematics.

    A subclass makes ``actor``, fills ``optimizers`` and writes `update`. Nothing below `run`
    reads a value back from the device; `flush` is the only synchronisation.
    """

    actor: Actor
    METRICS: tuple[str, ...]
    """Names of what `update` returns, in its order; each value has a number per task row."""

    def __init__(self, spec: Spec, *, device: torch.device, seed: int, accel: str) -> None:
        super().__init__()
        self.spec = spec
        self.device = device
        self.optimizers: dict[str, Adam] = {}
        self.updates = 0
        self._generator = torch.Generator(device).manual_seed(seed)
        self._stepper = Stepper(accel)
        self._inputs: dict[int, tuple[Tensor, Noise]] = {}
        self._totals = torch.zeros(len(self.METRICS), spec.num_tasks, device=device)
        self._counts = torch.zeros(spec.num_tasks, device=device)

    def update(self, batch: Batch, noise: Noise, variant: str) -> dict[str, Tensor]:
        """One step of every optimiser; returns `METRICS`, each ``[T]``, detached."""
        raise NotImplementedError

    def variant(self, step: int) -> str:
        """Which kind of update is number ``step`` (from 0); each kind is captured separately."""
        raise NotImplementedError

    def adam(self, parameters: Sequence[nn.Parameter], *, lr: float, eps: float) -> Adam:
        on_gpu = self.device.type == "cuda"
        # A captured graph freezes Python numbers: there the learning rate must be a tensor.
        rate = torch.tensor(lr, device=self.device) if on_gpu else lr
        return Adam(parameters, lr=rate, eps=eps, fused=True, capturable=on_gpu)

    def step(self, name: str, loss: Tensor, *, max_norm: float | None = None) -> Tensor:
        """A step of optimiser ``name`` on its own parameters; returns the norm before the clip.

        The gradient is taken with respect to those parameters alone: an actor's loss leaves the
        critics' gradients untouched.
        """
        optimizer = self.optimizers[name]
        parameters = optimizer.param_groups[0]["params"]
        grads = torch.autograd.grad(loss, parameters)
        norm = nn.utils.get_total_norm(grads)
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad
        if max_norm is not None:
            nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
        optimizer.step()
        optimizer.zero_grad()
        return norm

    def run(
        self, buffer: ReplayBuffer, tasks: Sequence[int], *, opt_steps: int, batch_size: int
    ) -> None:
        """``opt_steps`` updates on batches of ``batch_size`` transitions for each of ``tasks``.

        Raises:
            ValueError: the buffer holds nothing of a task.
        """
        for index in tasks:
            if not buffer.holds(index):
                raise ValueError(f"the buffer holds nothing of {self.spec.tasks[index]}")
        task, noise = self._static_inputs(tuple(tasks), batch_size)

        for _ in range(opt_steps):
            variant = self.variant(self.updates)
            noise.pick.uniform_(generator=self._generator)
            noise.act.normal_(generator=self._generator)
            self._stepper(
                (len(tasks), variant), partial(self._sampled_update, buffer, task, noise, variant)
            )
            self.updates += 1

    def _sampled_update(
        self, buffer: ReplayBuffer, task: Tensor, noise: Noise, variant: str
    ) -> None:
        metrics = self.update(buffer.sample(noise.pick, task), noise, variant)
        values = torch.stack([metrics[name] for name in self.METRICS])
        self._totals.index_add_(1, task, values)
        self._counts.index_add_(0, task, torch.ones_like(values[0]))

    def _static_inputs(self, tasks: tuple[int, ...], batch_size: int) -> tuple[Tensor, Noise]:
        """The same tensors for the same number of rows, as a captured graph needs them."""
        rows = len(tasks)
        if rows not in self._inputs:
            noise = Noise(
                pick=torch.empty(rows, batch_size, dtype=torch.float64, device=self.device),
                act=torch.empty(2, rows, batch_size, self.spec.act_dim, device=self.device),
            )
            self._inputs[rows] = torch.empty(rows, dtype=torch.int64, device=self.device), noise
        task, noise = self._inputs[rows]
        task.copy_(torch.tensor(tasks))
        return task, noise

    def flush(self) -> dict[str, float]:
        """Means since the last flush, over tasks and per task; empty without an update."""
        totals, counts = torch.vstack((self._totals, self._counts)).cpu().split(len(self.METRICS))
        self._totals.zero_()
        self._counts.zero_()
        active = counts[0] > 0
        if not active.any():
            return {}
        means = totals / counts
        result = {}
        for name, row in zip(self.METRICS, means, strict=True):
            result[f"train/{name}"] = float(row[active].mean())
            if self.spec.num_tasks > 1:
                result |= {
                    f"train_{name}/{task}": float(value)
                    for task, value, on in zip(self.spec.tasks, row, active, strict=True)
                    if on
                }
        return result

    @classmethod
    def metric_names(cls, tasks: Sequence[str]) -> list[str]:
        """Every name that `flush` can return, in its order."""
        names = []
        for name in cls.METRICS:
            names.append(f"train/{name}")
            names += [f"train_{name}/{task}" for task in tasks if len(tasks) > 1]
        return names

    def training_state(self) -> dict[str, object]:
        """All that the next update depends on."""
        return {
            "networks": self.state_dict(),
            "optimizers": {name: opt.state_dict() for name, opt in self.optimizers.items()},
            "generator": self._generator.get_state(),
            "updates": self.updates,
        }

    def load_training_state(self, state: dict) -> None:
        self.load_state_dict(state["networks"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self._generator.set_state(state["generator"].cpu())
        self.updates = state["updates"]
