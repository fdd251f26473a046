"""What all learners share: optimisers, the update loop, metrics without synchronisation."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.optim import Adam

from torchrl_lite.algo.accel import Stepper, compiled
from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.network.actor import Actor
from torchrl_lite.network.critic import Critic
from torchrl_lite.network.task_rows import task_parameters
from torchrl_lite.types import Batch, Noise, Spec


class Learner(nn.Module):
    """An algorithm's networks, optimisers and mathematics.

    A subclass makes ``actor`` and ``critic``, fills ``optimizers`` and writes `update`. Nothing
    below `run` reads a value back from the device; `flush` is the only synchronisation.
    """

    config: Any
    """The algorithm's section of the configuration; all have a ``discount``."""
    actor: Actor
    critic: Critic
    METRICS: tuple[str, ...]
    """Names of what `update` can return; each value has a number per task row."""

    SHARED: tuple[str, ...] = ()
    """Those of them that agents with shared parameters have in common."""

    POLICY = ("actor", "alpha")
    """Optimisers that rest while a policy from elsewhere is frozen. A temperature goes with the
    actor: it would run away from an entropy that does not answer."""

    def __init__(
        self, spec: Spec, *, device: torch.device, seed: int, accel: str, independent: bool = False
    ) -> None:
        super().__init__()
        self.spec = spec
        self.independent = independent
        self.device = device
        self.optimizers: dict[str, Adam] = {}
        self.updates = 0
        self._frozen_updates = 0
        self._frozen = False
        self._with_task_rows: set[int] = set()
        # Not the stream that the initial weights come from.
        self._generator = torch.Generator(device).manual_seed(seed + 2**32)
        self._stepper = Stepper(accel, device)
        self._update = compiled(self.update) if accel == "compile" else self.update
        self._inputs: dict[tuple[tuple[int, ...], int], tuple[Tensor, Noise]] = {}
        self._totals = torch.zeros(len(self.METRICS), spec.num_tasks, device=device)
        self._counts = torch.zeros_like(self._totals)

    def update(self, batch: Batch, noise: Noise, variant: str) -> dict[str, Tensor]:
        """A step of every optimiser that takes part in ``variant``; returns those of `METRICS`
        that it measured, each ``[T]``, detached."""
        raise NotImplementedError

    def td_target(self, batch: Batch, noise: Float[Tensor, "T B A"]) -> Float[Tensor, "T B M"]:
        """What the critics are to predict; ``noise`` is that of the actions at ``next_obs``."""
        raise NotImplementedError

    def td_error(self, batch: Batch, noise: Noise) -> Float[Tensor, " T"]:
        """The critics' loss that `update` would lessen."""
        target = self.td_target(batch, noise.act[0])
        return self.critic.loss(self.critic(batch.obs, batch.act, batch.task), target).mean(0)

    @torch.no_grad()
    def validate(self, batch: Batch) -> Float[Tensor, " T"]:
        """`td_error` with the same noise every time."""
        generator = torch.Generator().manual_seed(0)
        shape = (2, *batch.act.shape)
        act = torch.randn(shape, generator=generator, dtype=batch.act.dtype).to(self.device)
        return self.td_error(batch, Noise(pick=torch.zeros_like(batch.rew), act=act))

    def variant(self, step: int) -> str:
        """Which kind of update is number ``step`` (from 0); each kind is captured separately."""
        raise NotImplementedError

    def adam(self, parameters: Sequence[nn.Parameter], *, lr: float, eps: float) -> Adam:
        optimizer = Adam(
            parameters,
            lr=self._rate(lr),
            eps=eps,
            fused=True,
            capturable=self._stepper.mode == "graph",
        )
        optimizer.param_groups[0]["initial_lr"] = lr
        return optimizer

    def _rate(self, lr: float) -> float | Tensor:
        """A captured graph freezes Python numbers: on a GPU a learning rate is a tensor of it."""
        return torch.tensor(lr, device=self.device) if self.device.type == "cuda" else lr

    def start_gently(self, *, lr_multiplier: float, frozen_updates: int) -> None:
        """For weights from elsewhere: smaller learning rates, and a policy that stands still for
        the first updates, moments included. Both are part of `training_state`."""
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["initial_lr"] *= lr_multiplier
        self.schedule(1.0)
        self._frozen_updates = frozen_updates

    def schedule(self, share: float) -> None:
        """Every learning rate becomes this share of what it was at the start."""
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                rate = share * group["initial_lr"]
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)  # a captured graph reads this tensor
                else:
                    group["lr"] = rate

    def step(
        self,
        name: str,
        losses: Float[Tensor, " T"],
        task: Int[Tensor, " T"],
        *,
        max_norm: float | None = None,
    ) -> Float[Tensor, " T"]:
        """A step of optimiser ``name`` on its own parameters; returns norms before the clip.

        The loss is the mean over task rows; for independent agents it is their sum and each row
        is clipped by itself, or they would not equal separate learners. The gradient is taken with
        respect to those parameters alone: an actor's loss leaves the critics' untouched.
        """
        optimizer = self.optimizers[name]
        parameters = optimizer.param_groups[0]["params"]
        loss = losses.sum() if self.independent else losses.mean()
        grads = torch.autograd.grad(loss, parameters)
        norm = self._clip(grads, max_norm)
        if not (self._frozen and name in self.POLICY):
            for parameter, grad in zip(parameters, grads, strict=True):
                parameter.grad = grad
            with self.only(task, parameters, optimizer):
                optimizer.step()
            for parameter in parameters:
                parameter.grad = None
        return norm[task] if self.independent else norm.expand(len(task))

    def _clip(self, grads: Sequence[Tensor], max_norm: float | None) -> Tensor:
        if not self.independent:
            norm = nn.utils.get_total_norm(grads)
            if max_norm is not None:
                torch._foreach_mul_(list(grads), (max_norm / (norm + 1e-6)).clamp(max=1.0))
            return norm
        norm = torch.stack([_by_row(grad).square().sum(1) for grad in grads]).sum(0).sqrt()
        if max_norm is not None:
            scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
            for grad in grads:
                grad.mul_(_as_rows(scale, grad))
        return norm

    @contextmanager
    def only(
        self,
        task: Int[Tensor, " T"],
        parameters: Sequence[Tensor],
        optimizer: Adam | None = None,
    ) -> Iterator[None]:
        """Rows of tasks that do not take part stay as they are, to the last bit: parameters and
        Adam's moments, which would go on moving without a gradient.

        Adam counts the updates of all rows together. A task that joins late therefore begins
        without the correction for moments of zero: its first hundreds of steps are at
        most 6.6 times as large.
        """
        if len(task) == self.spec.num_tasks:
            yield
            return
        still = [p for p in parameters if id(p) in self._with_task_rows]
        if optimizer is not None:
            states = [optimizer.state[p] for p in still if p in optimizer.state]
            still += [state[key] for state in states for key in ("exp_avg", "exp_avg_sq")]
        before = [tensor.detach().clone() for tensor in still]
        yield
        moved = torch.zeros(self.spec.num_tasks, dtype=torch.bool, device=self.device)
        moved.index_fill_(0, task, True)  # an assignment would bring True from the host
        with torch.no_grad():
            for tensor, old in zip(still, before, strict=True):
                tensor.copy_(torch.where(_as_rows(moved, tensor), tensor, old))

    @torch.no_grad()
    def follow(
        self, target: nn.Module, source: nn.Module, *, tau: float, task: Int[Tensor, " T"]
    ) -> None:
        """target <- (1 - tau) target + tau source."""
        parameters: list[Tensor] = list(target.parameters())
        with self.only(task, parameters):
            torch._foreach_lerp_(parameters, list(source.parameters()), tau)

    def rows_of_tasks(self, *parameters: nn.Parameter) -> None:
        """Names the parameters with a row per task; to be called when all are made."""
        named = [*parameters, *task_parameters(self)]
        self._with_task_rows = {id(parameter) for parameter in named}

    def run(
        self,
        buffer: ReplayBuffer,
        tasks: Sequence[int],
        *,
        opt_steps: int,
        batch_size: int,
        n_step: int = 1,
    ) -> None:
        """``opt_steps`` updates on batches of ``batch_size`` returns for each of ``tasks``.

        Raises:
            ValueError: the buffer holds nothing of a task.
        """
        for index in tasks:
            if not buffer.holds(index):
                raise ValueError(f"the buffer holds nothing of {self.spec.tasks[index]}")
        task, noise = self._static_inputs(tuple(tasks), batch_size)

        for _ in range(opt_steps):
            variant = self.variant(self.updates)
            self._frozen = self.updates < self._frozen_updates
            noise.pick.uniform_(generator=self._generator)
            noise.act.normal_(generator=self._generator)
            self._stepper(
                (buffer, tuple(tasks), batch_size, n_step, variant, self._frozen),
                partial(self._sampled_update, buffer, task, noise, n_step, variant),
            )
            self.updates += 1

    def _sampled_update(
        self, buffer: ReplayBuffer, task: Tensor, noise: Noise, n_step: int, variant: str
    ) -> None:
        batch = buffer.sample(noise.pick, task, discount=self.config.discount, n_step=n_step)
        metrics = self._update(batch, noise, variant)
        zero = torch.zeros(len(task), device=self.device)
        one = torch.ones_like(zero)
        values = torch.stack([metrics.get(name, zero) for name in self.METRICS])
        counts = torch.stack([one if name in metrics else zero for name in self.METRICS])
        self._totals.index_add_(1, task, values)
        self._counts.index_add_(1, task, counts)

    def _static_inputs(self, tasks: tuple[int, ...], batch_size: int) -> tuple[Tensor, Noise]:
        """The same tensors for the same batch, as a captured graph needs them."""
        key = tasks, batch_size
        if key not in self._inputs:
            rows, act_dim = len(tasks), self.spec.act_dim
            noise = Noise(
                pick=torch.empty(rows, batch_size, dtype=torch.float64, device=self.device),
                act=torch.empty(2, rows, batch_size, act_dim, device=self.device),
            )
            self._inputs[key] = torch.tensor(tasks, device=self.device), noise
        return self._inputs[key]

    def flush(self) -> dict[str, float]:
        """Means since the last flush, over tasks and per task; empty without an update."""
        totals, counts = torch.stack((self._totals, self._counts)).cpu()
        self._totals.zero_()
        self._counts.zero_()
        result = {}
        for name, row, measured in zip(self.METRICS, totals / counts, counts > 0, strict=True):
            if measured.any():
                result[f"train/{name}"] = float(row[measured].mean())
            for task in measured.nonzero()[:, 0].tolist() if self._per_task(name) else ():
                result[f"train_{name}/{self.spec.tasks[task]}"] = float(row[task])
        return result

    def _per_task(self, name: str) -> bool:
        return self.spec.num_tasks > 1 and (self.independent or name not in self.SHARED)

    @property
    def metric_names(self) -> list[str]:
        """Every name that `flush` can return, in its order."""
        return [
            full
            for name in self.METRICS
            for full in (
                f"train/{name}",
                *(f"train_{name}/{task}" for task in self.spec.tasks if self._per_task(name)),
            )
        ]

    def training_state(self) -> dict[str, object]:
        """All that the next update depends on."""
        return {
            "networks": self.state_dict(),
            "optimizers": {name: opt.state_dict() for name, opt in self.optimizers.items()},
            "device": self.device.type,
            "generator": self._generator.get_state(),
            "updates": self.updates,
            "frozen_updates": self._frozen_updates,
        }

    def load_training_state(self, state: dict) -> None:
        self.load_state_dict(state["networks"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
            for group in optimizer.param_groups:
                group["lr"] = self._rate(float(group["lr"]))  # of a file's tensors, on the CPU
        self._generator.set_state(state["generator"].cpu())
        self.updates = state["updates"]
        self._frozen_updates = state["frozen_updates"]


def _by_row(tensor: Tensor) -> Float[Tensor, "T n"]:
    """A per-task parameter with its row dimension (the second, or the only one) in front."""
    return tensor[:, None] if tensor.ndim == 1 else tensor.transpose(0, 1).flatten(1)


def _as_rows(values: Shaped[Tensor, " T"], tensor: Tensor) -> Tensor:
    """A value per task in a shape that broadcasts over a per-task parameter."""
    return values if tensor.ndim == 1 else values.view(1, -1, *[1] * (tensor.ndim - 2))
