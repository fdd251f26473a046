"""Base class of all learners: one step of an optimiser, target networks, and the update loop."""

from collections.abc import Iterable, Sequence
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from torchrl_lite.algo.accel import StaticInputs, Stepper
from torchrl_lite.algo.active_tasks import ActiveTasks, clip, clip_each_task
from torchrl_lite.algo.agent_config import AgentConfig
from torchrl_lite.algo.cloning import bc_loss
from torchrl_lite.algo.gradients import METHODS
from torchrl_lite.algo.gradients.combine import combiners
from torchrl_lite.algo.gradients.method import Progress, critic_progress
from torchrl_lite.algo.metrics import Metrics
from torchrl_lite.algo.optimizers import Optimizers
from torchrl_lite.algo.paco_reset import paco_reset
from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.algo.sampler import Sampler, SymmetricSampler
from torchrl_lite.config import NetConfig
from torchrl_lite.network.actor import Actor
from torchrl_lite.network.critic import Critic
from torchrl_lite.types import Batch, Block, Noise, Spec


class Learner(nn.Module):
    """An algorithm's networks, optimisers and update rule.

    A subclass implements `build`, `update`, `td_target`, `variant` and, if needed, `draw`. Nothing
    that `run` calls reads a value back from the device; only `flush` synchronises.
    """

    config: AgentConfig
    actor: Actor
    critic: Critic
    METRICS: tuple[str, ...]
    """Metrics that `update` can return, each with one value per task."""

    SHARED: tuple[str, ...] = ("critic_grad_norm", "actor_grad_norm")
    """Metrics with one value for all tasks if the tasks share parameters."""

    POLICY = ("actor", "alpha")
    """Optimisers that pause while a transferred policy is frozen. The temperature pauses too: the
    entropy of a frozen policy cannot respond to it, so it would diverge."""

    def __init__(
        self,
        config: AgentConfig,
        net: NetConfig,
        spec: Spec,
        *,
        device: torch.device,
        seed: int,
        accel: str = "eager",
        gradients: str = "mean",
    ) -> None:
        """``config``: the algorithm's section; ``gradients``: "mean", or a name in `METHODS`."""
        super().__init__()
        self.config, self.net, self.spec, self.device = config, net, spec, device
        self.independent = net.kind == "independent"
        self.updates = 0
        self.imitations = 0
        """Behaviour-cloning updates so far."""
        self._frozen_updates = 0
        self._frozen = False
        self.build(net)
        self.to(device)
        self.optimizers = Optimizers(device, accel=accel)
        for name, (parameters, lr) in self.trained().items():
            self.optimizers.add(name, parameters, lr=lr, eps=config.adam_eps)
        self._active = ActiveTasks(self, spec.num_tasks)

        compiling = accel == "compile"
        method, tasks = METHODS.get(gradients), spec.num_tasks
        self._combiners = combiners(method, self, tasks, compiling=compiling)
        named = self._combiners.items()
        cosines = [f"{name}_grad_cosine" for name, one in named if one.method.NEEDS_PRODUCTS]
        self._paco_reset = paco_reset(self, self.optimizers, net)  # does nothing without PaCo
        imitation = ("bc_loss",) if config.bc_weight else ()
        self.METRICS += (*cosines, *imitation, *self._paco_reset.METRICS)
        shared = () if self.independent else (*self.SHARED, *cosines)
        self.metrics = Metrics(self.METRICS, spec, shared=shared, device=device)
        self._cosines: dict[str, Tensor] = {}

        # Another stream than that of the initial weights; on a CPU, torch ignores all but 32 bits.
        self._generator = torch.Generator(device).manual_seed(seed + 2**31)
        self._stepper = Stepper(accel, device)
        self._update = torch.compile(self.update, dynamic=False) if compiling else self.update
        self._inputs = StaticInputs(spec.act_dim, device)

    def build(self, net: NetConfig) -> None:
        """Create ``actor``, ``critic`` and everything else that is stored."""
        raise NotImplementedError

    def trained(self) -> dict[str, tuple[Iterable[nn.Parameter], float]]:
        """Parameters and learning rate of each optimiser."""
        return {
            "critic": (self.critic.parameters(), self.config.qlr),
            "actor": (self.actor.parameters(), self.config.plr),
        }

    def update(self, batch: Batch, noise: Noise, variant: str) -> dict[str, Tensor]:
        """One step of every optimiser in ``variant``; returns the measured `METRICS`, each ``[T]``
        and detached."""
        raise NotImplementedError

    def draw(self, generator: torch.Generator) -> None:
        """Draws what an update needs besides `Noise`, into registered buffers, before it."""

    def td_target(self, batch: Batch, noise: Float[Tensor, "T B A"]) -> Float[Tensor, "T B M"]:
        """The critics' target; ``noise`` is for the actions at ``next_obs``."""
        raise NotImplementedError

    def variant(self, step: int) -> str:
        """What update number ``step`` (from 0) updates; each kind has its own CUDA graph."""
        raise NotImplementedError

    def critic_loss(self, batch: Batch, noise: Noise) -> Float[Tensor, " T"]:
        """The critic loss that `update` minimises."""
        target = self.td_target(batch, noise.act[0])
        return self.critic.loss(self.critic(batch.obs, batch.act, batch.task), target).mean(0)

    def update_critic(
        self,
        batch: Batch,
        noise: Float[Tensor, "T B A"],
        *,
        weight: Float[Tensor, " T"] | float = 1.0,
    ) -> dict[str, Tensor]:
        """One step of the critics towards `td_target`; ``weight`` multiplies the tasks' losses.
        Returns the critics' metrics."""
        target = self.td_target(batch, noise)
        prediction = self.critic(batch.obs, batch.act, batch.task)
        losses = self.critic.loss(prediction, target)  # [E, T]
        norm = self.step(
            "critic",
            weight * self._paco_reset.mask(losses.mean(0), frozen=self._frozen),
            batch.task,
            max_norm=self.config.grad_clip,
            progress=partial(critic_progress, self.critic, batch, prediction, target),
        )
        self._paco_reset.apply(batch.task)
        return {
            **{f"q{index + 1}_loss": loss.detach() for index, loss in enumerate(losses)},
            "q": self.critic.value(prediction.detach()).mean((0, 2)),
            "critic_grad_norm": norm,
        }

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
        leaves the critics untouched. ``progress`` gives losses before and after the step, if they
        are never negative; FAMO and GradNorm need such losses.
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
        norm = (clip_each_task if self.independent else clip)(grads, max_norm)
        if not (self._frozen and name in self.POLICY):
            for parameter, grad in zip(parameters, grads, strict=True):
                parameter.grad = grad.contiguous()  # as the fused Adam assumes
            with self._active.only(task, parameters, optimizer):
                optimizer.step()
            for parameter in parameters:
                parameter.grad = None
            if combiner is not None:
                combiner.learn(progress)
        return norm[task] if self.independent else norm.expand(len(task))

    @torch.no_grad()
    def follow(
        self, target: nn.Module, source: nn.Module, *, tau: float, task: Int[Tensor, " T"]
    ) -> None:
        """target <- (1 - tau) target + tau source."""
        parameters: list[Tensor] = list(target.parameters())
        with self._active.only(task, parameters):
            torch._foreach_lerp_(parameters, list(source.parameters()), tau)

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
        if self.config.bc_weight and not isinstance(buffer, SymmetricSampler):
            raise ValueError("bc_weight: needs a buffer with demonstrations")
        for index in tasks:
            if not buffer.holds(index):
                raise ValueError(f"the buffer has no transitions of {self.spec.tasks[index]}")
        task, noise = self._inputs(tuple(tasks), batch_size)
        fixed = buffer, tuple(tasks), batch_size, n_step
        for _ in range(opt_steps):
            variant = self.variant(self.updates)
            self._frozen = self.updates < self._frozen_updates
            noise.pick.uniform_(generator=self._generator)
            noise.act.normal_(generator=self._generator)
            for combiner in self._combiners.values():
                combiner.method.draw(self._generator)
            self._paco_reset.draw(self._generator)
            self.draw(self._generator)
            self._stepper(
                (*fixed, variant, self._frozen, self.optimizers.begun),
                partial(self._sampled_update, buffer, task, noise, n_step, variant),
            )
            self.updates += 1

    def _sampled_update(
        self, buffer: Sampler, task: Tensor, noise: Noise, n_step: int, variant: str
    ) -> None:
        batch = buffer.sample(noise.pick, task, discount=self.config.discount, n_step=n_step)
        self._cosines = {}
        measured = self._update(batch, noise, variant)
        self.metrics.add(measured | self._cosines | self._paco_reset.measured(), task)

    def imitate(self, demos: ReplayBuffer, *, updates: int, batch_size: int) -> None:
        """Behaviour cloning: update the actor alone on `bc_loss`, until ``updates`` have been made
        in total. ``batch_size``: demonstrated transitions per task."""
        task, noise = self._inputs(tuple(range(self.spec.num_tasks)), batch_size)
        while self.imitations < updates:
            noise.pick.uniform_(generator=self._generator)
            for combiner in self._combiners.values():
                combiner.method.draw(self._generator)
            batch = demos.sample(noise.pick, task, discount=self.config.discount)
            self.step("actor", bc_loss(self.actor, batch, demos=batch_size), task)
            self.imitations += 1

    def flush(self) -> dict[str, float]:
        """Means of the metrics since the last call."""
        return self.metrics.flush()

    def observe(self, block: Block, tasks: Sequence[int]) -> None:
        """Add a collected epoch of these tasks to the statistics that normalise observations, with
        ``net.normalize_obs``: those of the actor, which all other networks copy."""
        if self.actor.normalizer is not None:
            self.actor.normalizer.update(block.obs, tasks)
            self.actor.normalizer.share(self)

    def start_gently(self, *, lr_multiplier: float, frozen_updates: int) -> None:
        """For transferred weights: scale the learning rates, and freeze the policy and its Adam
        moments for the first updates. Both are part of `training_state`."""
        self.optimizers.scale(lr_multiplier)
        self._frozen_updates = frozen_updates

    def training_state(self) -> dict[str, object]:
        """Everything that the next update depends on."""
        return {
            "networks": self.state_dict(),
            "optimizers": self.optimizers.state_dict(),
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
            LookupError, RuntimeError, ValueError: it is of other networks or optimisers.
        """
        self.load_state_dict(state["networks"])
        self.optimizers.load_state_dict(state["optimizers"])
        for name, combiner in self._combiners.items():
            combiner.method.load_state_dict(state["gradients"][name])
        self._generator.set_state(state["generator"].cpu())
        self.updates = state["updates"]
        self.imitations = state["imitations"]
        self._frozen_updates = state["frozen_updates"]
        self._stepper.forget()
