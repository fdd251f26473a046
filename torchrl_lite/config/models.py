"""The models of a configuration: every field, its type, its default and one line about it."""

import json
import re
from collections import Counter
from math import cos, pi
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from torchrl_lite.config.curriculum import CurriculumConfig
from torchrl_lite.config.files import nearest
from torchrl_lite.config.multi_task_networks import CareConfig, MooreConfig, PacoConfig
from torchrl_lite.config.section import (
    Count,
    Depth,
    Few,
    Horizon,
    Name,
    Natural,
    Positive,
    Section,
    Size,
    TaskName,
    Unit,
)


class EnvConfig(Section):
    """The tasks and how they are run."""

    suite: Literal["metaworld", "gymnasium"] = Field(
        "metaworld", description="where the tasks come from"
    )
    imports: list[Name] = Field(
        [], description="packages whose import registers Gymnasium ids; it runs their code"
    )
    name: Name | None = Field(None, description="name of a set of several tasks; null: MT<number>")
    tasks: Annotated[list[TaskName], Field(min_length=1)] = Field(description="names of the tasks")
    num_envs: Size = Field(1, description="environments over all tasks together")
    group_size: Size = Field(1, description="environments that act in one inference batch")
    max_episode_frames: Horizon | None = Field(
        None, description="time limit of an episode; null: each task's own (Meta-World: 500)"
    )
    num_goals: Annotated[int, Field(ge=1, le=50)] = Field(
        50, description="Meta-World goals per task; 1 is garage's frozen goal"
    )
    reward_version: Literal["v1", "v2"] = Field("v2", description="Meta-World's reward functions")
    fast: bool = Field(
        True, description="the fast Meta-World, equal to stock to the last bit; false: stock"
    )
    reward_normalization: Literal["auto", "ema", "return"] | None = Field(
        "auto",
        description="running scale of each task's rewards, by their standard deviation (ema) or by "
        "the largest discounted return so far (return, which becomes net.critic.bound); auto: ema "
        "with v1 rewards, else null",
    )
    noise_repeat: Few = Field(
        1,
        description="most steps in a row that share their exploration noise; runs of n steps come "
        "with probability ~ 1/n^2",
    )

    @property
    def set_name(self) -> str:
        if len(self.tasks) == 1:
            return self.tasks[0].replace("/", "_")  # it becomes a folder
        return self.name or f"MT{len(self.tasks)}"

    @property
    def copies(self) -> int:
        """Environments per task."""
        return self.num_envs // len(self.tasks)

    @model_validator(mode="before")
    @classmethod
    def _check_modules(cls, tree: Any) -> Any:
        tasks = tree.get("tasks") if isinstance(tree, dict) else None
        for task in tasks if isinstance(tasks, list) else ():
            if isinstance(task, str) and ":" in task:
                raise ValueError(
                    f"tasks: {task!r}: what stands before a colon would be imported; name it in "
                    "env.imports"
                )
        return tree

    @model_validator(mode="after")
    def _check(self) -> Self:
        for task, times in Counter(self.tasks).items():
            if times > 1:
                raise ValueError(f"tasks: {task!r} is named twice")
        if self.imports and self.suite != "gymnasium":
            raise ValueError('imports: is for the suite "gymnasium"')
        if self.reward_version == "v1" and self.suite != "metaworld":
            raise ValueError('reward_version: "v1" is for the suite "metaworld"')
        if self.num_envs % len(self.tasks):
            raise ValueError(
                f"num_envs: {self.num_envs} is no multiple of the {len(self.tasks)} tasks"
            )
        return self


class SoftModuleConfig(Section):
    """Sizes of a soft-module network; the defaults are the shallow one of Yang et al. 2020."""

    num_layers: Depth = Field(2, description="layers of modules")
    num_modules: Few = Field(2, description="modules in a layer")
    module_hidden: Size = Field(256, description="outputs of a module")
    num_gating_layers: Depth = Field(2, description="fully connected layers before the routing")
    gating_hidden: Size = Field(256, description="units of each of them")


class CriticConfig(Section):
    """What a critic predicts of the discounted return, and how several agree."""

    kind: Literal["scalar", "hl_gauss", "two_hot", "c51"] = Field(
        "scalar",
        description="a number, or a categorical distribution over bins: trained towards a Gaussian "
        "around the target, towards its two nearest bins, or towards the target's distribution",
    )
    bins: Annotated[int, Field(ge=2, le=2**12)] = Field(
        101, description="of a categorical critic, from -bound to bound"
    )
    bound: Positive = Field(5.0, description="largest value of a categorical critic")
    sigma: Positive = Field(0.75, description="hl_gauss: standard deviation, in bins")
    combine: Literal["min", "mean"] = Field(
        "min", description="what two critics' values become in targets and for SAC's policy"
    )


NEEDS_TASKS = ("paco", "moore", "film", "care")
"""Architectures that are about what tasks share, and nothing else."""


class NetConfig(Section):
    """Networks of actor and critics."""

    kind: Literal[
        "mlp", "multihead", "independent", "soft_module", "paco", "moore", "film", "care"
    ] = Field("mlp", description="architecture")
    hidden_shapes: Annotated[list[Size], Field(min_length=1)] = Field(
        [256, 256], description="hidden units, layer by layer"
    )
    actor_hidden_shapes: Annotated[list[Size], Field(min_length=1)] | None = Field(
        None, description="those of the actor; null: the same"
    )
    norm: Literal["none", "layer"] = Field(
        "none", description="normalisation before each ReLU: LayerNorm, or none"
    )
    residual: bool = Field(
        False,
        description="every hidden layer after the first is a block of two that adds to its input",
    )
    critic: CriticConfig = Field(CriticConfig(), description="what a critic predicts")
    task_input: Literal["onehot", "embedding"] = Field(
        "onehot", description="how the task enters a shared trunk"
    )
    embedding_dim: Size = Field(32, description="size of a learned task embedding")
    soft_module: SoftModuleConfig = Field(
        SoftModuleConfig(), description="sizes, where kind is soft_module"
    )
    paco: PacoConfig = Field(PacoConfig(), description="sizes, where kind is paco")
    moore: MooreConfig = Field(MooreConfig(), description="sizes, where kind is moore")
    care: CareConfig = Field(CareConfig(), description="sizes, where kind is care")
    init: Literal["garage", "metaworld_algorithms", "torch"] = Field(
        "metaworld_algorithms",
        description="whose initialisation: Xavier, He with small heads, or that of torch.nn.Linear",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.task_input == "embedding" and self.kind not in ("mlp", "multihead"):
            raise ValueError(f'task_input: "embedding" is not for kind {self.kind!r}')
        if self.residual and self.kind in ("soft_module", *NEEDS_TASKS):
            raise ValueError(f'residual: is not for kind "{self.kind}"')
        for name in ("hidden_shapes", "actor_hidden_shapes"):
            shapes = getattr(self, name)
            if self.kind == "moore" and shapes and self.moore.num_experts > shapes[-1]:
                raise ValueError(
                    f"moore.num_experts: {self.moore.num_experts} representations of {shapes[-1]} "
                    "numbers cannot be orthogonal"
                )
            if self.residual and shapes and len(set(shapes)) > 1:
                raise ValueError(f"{name}: {shapes}: residual layers need one width")
        return self

    def hidden(self, role: Literal["actor", "critic"]) -> list[int]:
        """Hidden units of a role's networks."""
        return (role == "actor" and self.actor_hidden_shapes) or self.hidden_shapes


class ReplayBufferConfig(Section):
    """What is remembered."""

    size: Count = Field(1_000_000, description="transitions over all tasks together")


class TrainConfig(Section):
    """The epoch loop."""

    num_epochs: Natural = Field(1980, description="training epochs, pretrain epochs not counted")
    pretrain_epochs: Natural = Field(
        20, description="epochs of uniform random actions before the first update"
    )
    epoch_frames: Count = Field(500, description="frames of each environment in an epoch")
    opt_steps: Natural = Field(500, description="updates in an epoch")
    batch_size: Count = Field(256, description="transitions in an update, over all tasks")
    n_step: Few = Field(1, description="steps of reward in a target before it bootstraps")
    lr_schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="how all learning rates go from their start to lr_final of it"
    )
    lr_final: Unit = Field(0.5, description="share of the learning rates that is left at the end")
    eval_interval: Count = Field(40, description="epochs between evaluations")
    eval_episodes: Size = Field(10, description="episodes per task in an evaluation")
    final_eval_episodes: Size = Field(50, description="episodes per task at the end")
    save_interval: Count = Field(20, description="epochs between checkpoints")
    keep_checkpoints: Count = Field(2, description="complete checkpoints that are kept, the newest")
    snapshot_interval: Count | None = Field(
        None, description="epochs between copies of the weights that are kept; null: none"
    )

    def lr_share(self, updates: int) -> float:
        """What the schedule leaves of the learning rates after so many updates, the last of which
        is that of the last epoch."""
        progress = min(1.0, updates / max(1, self.num_epochs * self.opt_steps))
        falls = {"constant": 0.0, "linear": progress, "cosine": (1 - cos(pi * progress)) / 2}
        return 1 - (1 - self.lr_final) * falls[self.lr_schedule]


def check_address(address: str) -> None:
    """
    Raises:
        ValueError: it is not where a Ray may be.
    """
    known = ["local", "auto"]
    if address not in known and not re.fullmatch(r"[A-Za-z0-9.-]+:[0-9]{1,5}", address):
        raise ValueError(
            f'address: {json.dumps(address)} is not allowed; it is "local", "auto" or '
            f"HOST:PORT{nearest(address, known)}"
        )


class RayConfig(Section):
    """Rollout workers as actors of Ray, where ``system.workers`` is "ray"."""

    address: str = Field(
        "local",
        description='"local" starts Ray on this machine and ends it with the run; "auto" or '
        "HOST:PORT joins a cluster that runs",
    )
    num_workers: Few = Field(1, description="actors that share the environments")
    cpus_per_worker: Few = Field(
        1, description="CPUs that Ray sets aside for each; it computes on one"
    )

    @property
    def joins(self) -> bool:
        """Whether a machine is named that the run trusts."""
        return self.address not in ("local", "auto")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_address(self.address)
        return self


class SystemConfig(Section):
    """How the machine is used. ``overlap`` and ``matmul_precision`` change what is learned,
    ``threads`` and ``accel`` only how sums are rounded, the rest no bit."""

    workers: Literal["auto", "ray"] | Annotated[int, Field(ge=0, le=2**10)] = Field(
        "auto",
        description='rollout processes; 0 collects in the main process; "ray": actors of Ray',
    )
    ray: RayConfig = Field(RayConfig(), description="those actors, where workers is ray")
    accel: Literal["auto", "eager", "compile", "graph"] = Field(
        "auto",
        description="how updates run: as written, by torch.compile, or captured once (graph, "
        "CUDA only); auto: eager",
    )
    overlap: bool = Field(False, description="collect the next epoch while the learner works")
    threads: Literal["auto"] | Few = Field("auto", description="CPU threads of the learner")
    matmul_precision: Literal["highest", "high", "medium"] = Field(
        "highest", description="precision of float32 matrix products"
    )
    grace_seconds: Annotated[float, Field(ge=0, le=10**6)] = Field(
        20.0,
        description="after a signal, the running epoch has this long to finish and be saved",
    )
    env_timeout_s: Annotated[float, Field(gt=0, le=10**6)] = Field(
        300.0, description="seconds after which an environment that does not answer stops the run"
    )

    @property
    def num_workers(self) -> int:
        """Of whichever kind, where no ``auto`` is left."""
        return self.ray.num_workers if self.workers == "ray" else int(self.workers)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.overlap and self.workers == 0:
            raise ValueError("overlap: needs workers of its own, but workers is 0")
        return self


Part = Literal["actor", "critic", "alpha", "buffer"]
"""What can be carried over: networks with their targets, temperatures, transitions."""


class TransferConfig(Section):
    """What to start from, and how gently."""

    init_from: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="run, checkpoint or file to start from; --init_from sets it"
    )
    load: Literal["auto"] | Annotated[list[Part], Field(min_length=1)] = Field(
        "auto", description="parts to carry over; auto: actor, critic and alpha, where they are"
    )
    lr_multiplier: Positive = Field(
        0.3, description="factor on every learning rate of a run that started from other weights"
    )
    freeze_updates: Natural = Field(
        0, description="first updates that leave actor and temperatures alone, for the critics"
    )
    task_map: dict[TaskName, TaskName] = Field(
        {},
        description="tasks here and the task there that each takes over; else equal names, or the "
        "one task and the one task",
    )
    optional: bool = Field(
        False, description="weights of which nothing fits are a warning, and training starts anew"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.freeze_updates and self.load != "auto" and "actor" not in self.load:
            raise ValueError('freeze_updates: keeps a loaded actor, but load has no "actor"')
        return self


class LogConfig(Section):
    """What is logged beyond the scalars."""

    console: Literal["auto", "live", "plain"] = Field(
        "auto", description="auto: a live view on a terminal, else a line per epoch"
    )
    video: bool | Count = Field(
        False,
        description="films of an episode per task, at every evaluation (true) or at every n-th, "
        "and at the end",
    )
    wandb_project: Annotated[str, Field(min_length=1)] = Field(
        "torchrl_lite", description="project on Weights & Biases, where --track asks for it"
    )


class Config(Section):
    """A whole run. The section named after the algorithm joins by `check.model`."""

    algo: str = Field(description="the algorithm")
    env: EnvConfig
    net: NetConfig = NetConfig()
    replay_buffer: ReplayBufferConfig = ReplayBufferConfig()
    train: TrainConfig = TrainConfig()
    system: SystemConfig = SystemConfig()
    curriculum: CurriculumConfig | None = Field(None, description="stages of tasks; null: none")
    transfer: TransferConfig | None = Field(None, description="weights from another run")
    log: LogConfig = LogConfig()

    @property
    def agent(self) -> Any:
        """The algorithm's own section."""
        return getattr(self, self.algo)

    @property
    def num_tasks(self) -> int:
        return len(self.env.tasks)

    @property
    def frames_per_epoch(self) -> int:
        return self.train.epoch_frames * self.env.num_envs

    @property
    def total_frames(self) -> int:
        return self.total_epochs * self.frames_per_epoch

    @property
    def capacity(self) -> int:
        """Transitions that the buffer holds per task."""
        return self.replay_buffer.size // self.num_tasks

    @property
    def total_epochs(self) -> int:
        return self.train.pretrain_epochs + self.train.num_epochs

    @model_validator(mode="after")
    def _check(self) -> Self:
        weighted = getattr(getattr(self, self.algo, None), "temperature_weights", False)
        if weighted and self.net.kind == "independent":
            raise ValueError(
                f"{self.algo}.temperature_weights: would couple agents that are independent"
            )
        tasks, batch = self.num_tasks, self.train.batch_size
        if tasks == 1 and self.net.kind in NEEDS_TASKS:
            raise ValueError(f'net.kind: "{self.net.kind}" needs several tasks, but there is one')
        if batch % tasks:
            raise ValueError(f"train.batch_size: {batch} is no multiple of the {tasks} tasks")
        per_task = self.frames_per_epoch // tasks
        if per_task > self.capacity:
            raise ValueError(
                f"replay_buffer.size: {self.replay_buffer.size} is too small: an epoch brings "
                f"{per_task} transitions per task, the buffer would hold {self.capacity}"
            )
        if self.curriculum is not None:
            self.curriculum.stages_of(self.env.tasks)
        for task in self.transfer.task_map if self.transfer is not None else ():
            if task not in self.env.tasks:
                hint = nearest(task, self.env.tasks)
                raise ValueError(f"transfer.task_map: {task!r} is not in env.tasks{hint}")
        return self
