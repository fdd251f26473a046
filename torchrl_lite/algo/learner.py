"""Base class of all learners: optimisers, the update loop, metrics without synchronisation."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.optim import Adam

from torchrl_lite.algo.accel import Stepper, compiled
from torchrl_lite.algo.gradients import METHODS
from torchrl_lite.algo.gradients.combine import Combiner
from torchrl_lite.algo.gradients.method import Progress
from torchrl_lite.algo.optimizer_state import check_optimizer
from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.algo.sampler import Sampler, SymmetricSampler, demos_in
from torchrl_lite.network.actor import Actor
from torchrl_lite.network.critic import Critic
from torchrl_lite.network.normalizer import ObsNormalizer
from torchrl_lite.network.task_rows import as_rows, by_row, task_parameters
from torchrl_lite.types import Batch, Block, Noise, Spec


class Learner(nn.Module):
    """An algorithm's networks, optimisers and update rule.

    A subclass creates ``actor`` and ``critic``, fills ``optimizers`` and implements `update`.
    Nothing that `run` calls reads a value back from the device; only `flush` synchronises.
    """

    config: Any
    """The algorithm's section; every one has a ``discount`` and a ``reward_scale``."""
    actor: Actor
    critic: Critic
    METRICS: tuple[str, ...]
    """Metrics that `update` can return, each with one value per task."""

    SHARED: tuple[str, ...] = ()
    """Metrics with one value for all tasks if the tasks share parameters."""

    POLICY = ("actor", "alpha")
    """Optimisers that pause while a transferred policy is frozen. The temperature pauses too: the
    entropy of a frozen policy cannot respond to it, so it would diverge."""

    def __init__(
        self,
        spec: Spec,
        *,
        device: torch.device,
        seed: int,
        accel: str,
        independent: bool = False,
        gradients: str = "mean",
        bc_weight: float = 0.0,
    ) -> None:
        """``gradients``: "mean", or how those of several tasks are combined, from `METHODS`;
        ``bc_weight``: of `bc_loss` in the actor's loss."""
        super().__init__()
        self.spec = spec
        self.independent = independent
        self._combine = METHODS.get(gradients)
        self._combiners: dict[str, Combiner] = {}  # of networks, by the name of their optimisers
        self._cosines: dict[str, Tensor] = {}
        if self._combine is not None and self._combine.NEEDS_PRODUCTS:
            cosines = ("critic_grad_cosine", "actor_grad_cosine")
            self.METRICS, self.SHARED = (*self.METRICS, *cosines), (*self.SHARED, *cosines)
        self._bc_weight = bc_weight
        if bc_weight:
            self.METRICS = (*self.METRICS, "bc_loss")
        self.device = device
        self.optimizers: dict[str, Adam] = {}
        self.updates = 0
        self.imitations = 0
        """Updates of `imitate`."""
        self._frozen_updates = 0
        self._frozen = False
        self._with_task_rows: set[int] = set()
        # Independent of the random stream of the initial weights.
        self._generator = torch.Generator(device).manual_seed(seed + 2**32)
        self._stepper = Stepper(accel, device)
        self._update = compiled(self.update) if accel == "compile" else self.update
        self._inputs: dict[tuple[tuple[int, ...], int], tuple[Tensor, Noise]] = {}
        self._totals = torch.zeros(len(self.METRICS), spec.num_tasks, device=device)
        self._counts = torch.zeros_like(self._totals)

    def observe(self, block: Block, tasks: Sequence[int]) -> None:
        """Add a collected epoch of these tasks to the statistics that normalise observations, with
        ``net.normalize_obs``: those of the actor, which all other networks copy."""
        own = self.actor.normalizer
        if own is None:
            return
        own.update(block.obs, tasks)
        self.share_normalizer(own)

    def share_normalizer(self, source: ObsNormalizer) -> None:
        """Copy its statistics to all networks."""
        for module in self.modules():
            if isinstance(module, ObsNormalizer) and module is not source:
                module.load_state_dict(source.state_dict())

    def update(self, batch: Batch, noise: Noise, variant: str) -> dict[str, Tensor]:
        """One step of every optimiser in ``variant``; returns the measured `METRICS`, each ``[T]``
        and detached."""
        raise NotImplementedError

    def td_target(self, batch: Batch, noise: Float[Tensor, "T B A"]) -> Float[Tensor, "T B M"]:
        """The critics' target; ``noise`` is for the actions at ``next_obs``."""
        raise NotImplementedError

    def td_error(self, batch: Batch, noise: Noise) -> Float[Tensor, " T"]:
        """The critic loss that `update` minimises."""
        target = self.td_target(batch, noise.act[0])
        return self.critic.loss(self.critic(batch.obs, batch.act, batch.task), target).mean(0)

    @torch.no_grad()
    def critic_progress(
        self, batch: Batch, prediction: Float[Tensor, "E T B N"], target: Float[Tensor, "T B M"]
    ) -> tuple[Float[Tensor, " T"], Float[Tensor, " T"]]:
        """The critics' losses of half of the batch: of its ``prediction``, and predicted again."""
        half = (batch.rew.shape[1] + 1) // 2
        again = self.critic(batch.obs[:, :half], batch.act[:, :half], batch.task)
        before, after = (
            self.critic.loss(either, target[:, :half]).mean(0)
            for either in (prediction[:, :, :half], again)
        )
        return before, after

    def bc_loss(self, batch: Batch, *, demos: int) -> Float[Tensor, " T"]:
        """Mean over the last ``demos`` transitions of the squared distance |pi(s) - a|^2 between
        the deterministic action and the demonstrated one.

        Nair et al. 2018, "Overcoming Exploration in Reinforcement Learning with Demonstrations"
        (arXiv:1709.10089), L_BC of section IV-B, without the Q filter.
        """
        start = batch.act.shape[1] - demos
        act = self.actor.act(batch.obs[:, start:], batch.task)
        return (act - batch.act[:, start:]).square().sum(-1).mean(1)

    def with_bc(
        self, losses: Float[Tensor, " T"], batch: Batch
    ) -> tuple[Float[Tensor, " T"], dict[str, Tensor]]:
        """The actor's losses plus ``bc_weight`` times `bc_loss`, and that as a metric."""
        if not self._bc_weight:
            return losses, {}
        imitation = self.bc_loss(batch, demos=demos_in(batch.act.shape[1]))
        return losses + self._bc_weight * imitation, {"bc_loss": imitation.detach()}

    @torch.no_grad()
    def validate(self, batch: Batch) -> Float[Tensor, " T"]:
        """`td_error` with fixed noise."""
        generator = torch.Generator().manual_seed(0)
        shape = (2, *batch.act.shape)
        act = torch.randn(shape, generator=generator, dtype=batch.act.dtype).to(self.device)
        return self.td_error(batch, Noise(pick=torch.zeros_like(batch.rew), act=act))

    def variant(self, step: int) -> str:
        """The kind of update number ``step`` (from 0); each kind has its own CUDA graph."""
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
        """A tensor on a GPU, since a captured graph freezes Python numbers."""
        return torch.tensor(lr, device=self.device) if self.device.type == "cuda" else lr

    def start_gently(self, *, lr_multiplier: float, frozen_updates: int) -> None:
        """For transferred weights: scale the learning rates, and freeze the policy and its Adam
        moments for the first updates. Both are part of `training_state`."""
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["initial_lr"] *= lr_multiplier
        self.schedule(1.0)
        self._frozen_updates = frozen_updates

    def schedule(self, share: float) -> None:
        """Set every learning rate to ``share`` of its initial value."""
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
        progress: Progress | None = None,
    ) -> Float[Tensor, " T"]:
        """One step of optimiser ``name`` on its own parameters; returns norms before clipping.

        The loss is the mean over tasks, unless a method combines their gradients. For independent
        agents it is the sum, and each task's gradient is clipped separately, so that they equal
        separate learners. Gradients are taken only with respect to these parameters: an actor loss
        leaves the critics untouched. ``progress`` is for losses that are never negative.
        """
        optimizer = self.optimizers[name]
        parameters = optimizer.param_groups[0]["params"]
        combiner = self._combiners.get(name)
        grads: Sequence[Tensor]
        if combiner is None:
            loss = losses.sum() if self.independent else losses.mean()
            grads = torch.autograd.grad(loss, parameters)
        else:
            grads = combiner.gradients(losses, task)
            if combiner.cosine is not None:
                self._cosines[f"{name}_grad_cosine"] = combiner.cosine.expand(len(task))
        norm = self._clip(grads, max_norm)
        if not (self._frozen and name in self.POLICY):
            for parameter, grad in zip(parameters, grads, strict=True):
                parameter.grad = grad
            with self.only(task, parameters, optimizer):
                optimizer.step()
            for parameter in parameters:
                parameter.grad = None
            if combiner is not None:
                combiner.learn(progress)
        return norm[task] if self.independent else norm.expand(len(task))

    def _clip(self, grads: Sequence[Tensor], max_norm: float | None) -> Tensor:
        if not self.independent:
            norm = nn.utils.get_total_norm(grads)
            if max_norm is not None:
                torch._foreach_mul_(list(grads), (max_norm / (norm + 1e-6)).clamp(max=1.0))
            return norm
        norm = torch.stack([by_row(grad).square().sum(1) for grad in grads]).sum(0).sqrt()
        if max_norm is not None:
            scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
            for grad in grads:
                grad.mul_(as_rows(scale, grad))
        return norm

    @contextmanager
    def only(
        self,
        task: Int[Tensor, " T"],
        parameters: Sequence[Tensor],
        optimizer: Adam | None = None,
    ) -> Iterator[None]:
        """Keep per-task parameters and Adam moments of all other tasks bit-identical; without a
        gradient, Adam's moments would otherwise keep moving the parameters.

        Adam has one update counter for all tasks. A task that joins late therefore starts without
        bias correction: its first few hundred steps are up to 6.6 times as large.
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
        moved.index_fill_(0, task, True)  # an assignment would copy True from the host
        with torch.no_grad():
            for tensor, old in zip(still, before, strict=True):
                tensor.copy_(torch.where(as_rows(moved, tensor), tensor, old))

    @torch.no_grad()
    def follow(
        self, target: nn.Module, source: nn.Module, *, tau: float, task: Int[Tensor, " T"]
    ) -> None:
        """target <- (1 - tau) target + tau source."""
        parameters: list[Tensor] = list(target.parameters())
        with self.only(task, parameters):
            torch._foreach_lerp_(parameters, list(source.parameters()), tau)

    def rows_of_tasks(self, *parameters: nn.Parameter) -> None:
        """Register the per-task parameters; call it once all parameters exist."""
        named = [*parameters, *task_parameters(self)]
        self._with_task_rows = {id(parameter) for parameter in named}
        if self._combine is None:
            return
        roles = {"critic": self.critic, "actor": self.actor}
        for name, role in roles.items():
            if name == "critic" or not self._combine.NEEDS_POSITIVE_LOSSES:
                method = self._combine(self.spec.num_tasks).to(self.device)
                self._combiners[name] = Combiner(role, method)

    def run(
        self,
        buffer: Sampler,
        tasks: Sequence[int],
        *,
        opt_steps: int,
        batch_size: int,
        n_step: int = 1,
    ) -> None:
        """``opt_steps`` updates on batches of ``batch_size`` n-step returns for each task.

        Raises:
            ValueError: the buffer has no transitions of a task, or no demonstrations although
                there is a ``bc_weight``.
        """
        if self._bc_weight and not isinstance(buffer, SymmetricSampler):
            raise ValueError("bc_weight: needs a buffer with demonstrations")
        for index in tasks:
            if not buffer.holds(index):
                raise ValueError(f"the buffer has no transitions of {self.spec.tasks[index]}")
        task, noise = self._static_inputs(tuple(tasks), batch_size)

        for _ in range(opt_steps):
            variant = self.variant(self.updates)
            self._frozen = self.updates < self._frozen_updates
            noise.pick.uniform_(generator=self._generator)
            noise.act.normal_(generator=self._generator)
            for combiner in self._combiners.values():
                combiner.method.draw(self._generator)
            self._stepper(
                (buffer, tuple(tasks), batch_size, n_step, variant, self._frozen),
                partial(self._sampled_update, buffer, task, noise, n_step, variant),
            )
            self.updates += 1

    def imitate(self, demos: ReplayBuffer, *, updates: int, batch_size: int) -> None:
        """Behaviour cloning: updates of the actor alone, which minimise `bc_loss`, until there were
        ``updates`` of them. ``batch_size``: demonstrated transitions of each task."""
        task, noise = self._static_inputs(tuple(range(self.spec.num_tasks)), batch_size)
        while self.imitations < updates:
            noise.pick.uniform_(generator=self._generator)
            for combiner in self._combiners.values():
                combiner.method.draw(self._generator)
            batch = demos.sample(noise.pick, task, discount=self.config.discount)
            self.step("actor", self.bc_loss(batch, demos=batch_size), task)
            self.imitations += 1

    def _sampled_update(
        self, buffer: Sampler, task: Tensor, noise: Noise, n_step: int, variant: str
    ) -> None:
        batch = buffer.sample(noise.pick, task, discount=self.config.discount, n_step=n_step)
        self._cosines = {}
        metrics = self._update(batch, noise, variant)
        metrics |= self._cosines
        zero = torch.zeros(len(task), device=self.device)
        one = torch.ones_like(zero)
        values = torch.stack([metrics.get(name, zero) for name in self.METRICS])
        counts = torch.stack([one if name in metrics else zero for name in self.METRICS])
        self._totals.index_add_(1, task, values)
        self._counts.index_add_(1, task, counts)

    def _static_inputs(self, tasks: tuple[int, ...], batch_size: int) -> tuple[Tensor, Noise]:
        """The same tensors for the same tasks and batch size, as a captured graph requires."""
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
        """Means since the last flush, over tasks and per task; empty if there was no update."""
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
        """Every name that `flush` can return, in order."""
        return [
            full
            for name in self.METRICS
            for full in (
                f"train/{name}",
                *(f"train_{name}/{task}" for task in self.spec.tasks if self._per_task(name)),
            )
        ]

    def training_state(self) -> dict[str, object]:
        """Everything that the next update depends on."""
        return {
            "networks": self.state_dict(),
            "optimizers": {name: opt.state_dict() for name, opt in self.optimizers.items()},
            "device": self.device.type,
            "gradients": {name: one.method.state_dict() for name, one in self._combiners.items()},
            "generator": self._generator.get_state(),
            "updates": self.updates,
            "imitations": self.imitations,
            "frozen_updates": self._frozen_updates,
        }

    def load_training_state(self, state: dict) -> None:
        """
        Raises:
            RuntimeError, ValueError: it is not of these networks and optimisers.
        """
        self.load_state_dict(state["networks"])
        for name, optimizer in self.optimizers.items():
            check_optimizer(optimizer, state["optimizers"][name])
            optimizer.load_state_dict(state["optimizers"][name])
            for group in optimizer.param_groups:
                group["lr"] = self._rate(float(group["lr"]))  # loaded tensors are on the CPU
        for name, combiner in self._combiners.items():
            combiner.method.load_state_dict(state["gradients"][name])
        self._generator.set_state(state["generator"].cpu())
        self.updates = state["updates"]
        self.imitations = state.get("imitations", 0)  # earlier versions had none
        self._frozen_updates = state["frozen_updates"]
