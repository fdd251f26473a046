"""Configuration models: every field with its type, default and description."""

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
    InfoName,
    Name,
    Natural,
    Positive,
    Section,
    Size,
    TaskName,
    Unit,
)
from torchrl_lite.config.wrapper import WrapperConfig


class EnvConfig(Section):
    """The tasks and their environments."""

    suite: Literal["metaworld", "gymnasium"] = Field("metaworld", description="source of the tasks")
    imports: list[Name] = Field(
        [],
        description="modules whose import registers Gymnasium ids or wrappers, also in the current "
        "directory; importing runs their code",
    )
    wrappers: list[WrapperConfig] = Field(
        [],
        description="wrappers of every environment, the first one innermost: a name, or an object "
        "of name and arguments",
    )
    name: Name | None = Field(
        None, description="name of a set of several tasks; null: MT10 for ten tasks"
    )
    tasks: Annotated[list[TaskName], Field(min_length=1)] = Field(description="names of the tasks")
    num_envs: Size = Field(1, description="environments over all tasks")
    group_size: Size = Field(1, description="environments per inference batch")
    max_episode_frames: Horizon | None = Field(
        None, description="time limit of an episode; null: each task's own (Meta-World: 500)"
    )
    num_goals: Annotated[int, Field(ge=1, le=50)] = Field(
        50, description="Meta-World goals per task; 1: a single fixed goal, as in garage"
    )
    hide_goal: bool = Field(
        False, description="set the goal in Meta-World's observations to zero, as in ML1"
    )
    reward: Literal["dense", "sparse"] = Field(
        "dense",
        description="Meta-World's reward, or 1 for a step that succeeds and else 0 (sparse)",
    )
    reward_version: Literal["v1", "v2"] = Field(
        "v2", description="Meta-World's dense reward functions"
    )
    fast: bool = Field(
        True, description="use the fast Meta-World, bit-identical to stock; false: stock"
    )
    reward_normalization: Literal["auto", "ema", "return"] | None = Field(
        "auto",
        description="running scale of each task's rewards, by their standard deviation (ema) or so "
        "that the largest discounted return becomes net.critic.bound (return); null: none; auto: "
        "ema with v1 rewards, else null",
    )
    noise_repeat: Few = Field(
        1,
        description="maximum consecutive steps with the same exploration noise; it is held for n "
        "steps with probability ~ 1/n^2",
    )
    random_starts: Unit = Field(
        0.0, description="probability that an episode of training begins with random actions"
    )
    random_start_steps: Few = Field(
        60, description="maximum steps of such a start; each action is held for 1 to 30 steps"
    )

    @property
    def set_name(self) -> str:
        if len(self.tasks) == 1:
            return self.tasks[0].replace("/", "_")  # used as a folder name
        return self.name or f"MT{len(self.tasks)}"

    @property
    def copies(self) -> int:
        """Environments per task."""
        return self.num_envs // len(self.tasks)

    @property
    def has_goals(self) -> bool:
        """Whether episodes differ by goals, of which some are never trained on."""
        return self.suite == "metaworld"

    @model_validator(mode="before")
    @classmethod
    def _check_modules(cls, tree: Any) -> Any:
        tasks = tree.get("tasks") if isinstance(tree, dict) else None
        for task in tasks if isinstance(tasks, list) else ():
            if isinstance(task, str) and ":" in task:
                raise ValueError(
                    f"tasks: {task!r}: a module before a colon is not imported; name it in "
                    "env.imports"
                )
        return tree

    @model_validator(mode="after")
    def _check(self) -> Self:
        for task, times in Counter(self.tasks).items():
            if times > 1:
                raise ValueError(f"tasks: {task!r} is named twice")
        if self.imports and self.suite != "gymnasium" and not self.wrappers:
            raise ValueError('imports: only for suite "gymnasium" or with wrappers')
        self._check_suite()
        if self.num_envs % len(self.tasks):
            raise ValueError(
                f"num_envs: {self.num_envs} is not a multiple of the {len(self.tasks)} tasks"
            )
        return self

    def _check_suite(self) -> None:
        """What needs Meta-World's goals, rewards or success."""
        if self.suite == "metaworld":
            return
        if self.reward_version == "v1":
            raise ValueError('reward_version: "v1" is only for suite "metaworld"')
        if self.reward == "sparse":
            raise ValueError('reward: "sparse" needs the success that suite "metaworld" reports')
        if self.hide_goal:
            raise ValueError('hide_goal: is only for suite "metaworld"')


class SoftModuleConfig(Section):
    """Sizes of a soft-module network; the defaults are the shallow network of Yang et al. 2020."""

    num_layers: Depth = Field(2, description="layers of modules")
    num_modules: Few = Field(2, description="modules per layer")
    module_hidden: Size = Field(256, description="outputs per module")
    num_gating_layers: Depth = Field(2, description="fully connected layers before the routing")
    gating_hidden: Size = Field(256, description="units per gating layer")


class CriticConfig(Section):
    """How critics predict the discounted return, and how their predictions are combined."""

    kind: Literal["scalar", "hl_gauss", "two_hot", "c51"] = Field(
        "scalar",
        description="a scalar, or a categorical distribution over bins, trained towards a Gaussian "
        "around the target (hl_gauss), its two nearest bins (two_hot) or the target distribution "
        "(c51)",
    )
    bins: Annotated[int, Field(ge=2, le=2**12)] = Field(
        101, description="bins of a categorical critic, from -bound to bound"
    )
    bound: Positive = Field(5.0, description="largest value of a categorical critic")
    sigma: Positive = Field(0.75, description="hl_gauss: standard deviation, in bins")
    combine: Literal["min", "mean"] = Field(
        "min", description="how two critics are combined in targets and in SAC's policy loss"
    )


NEEDS_TASKS = ("paco", "moore", "film", "care")
"""Architectures that only make sense for several tasks."""


class NetConfig(Section):
    """Networks of the actor and the critics."""

    kind: Literal[
        "mlp", "multihead", "independent", "soft_module", "paco", "moore", "film", "care"
    ] = Field("mlp", description="architecture")
    hidden_shapes: Annotated[list[Size], Field(min_length=1)] = Field(
        [256, 256], description="hidden units per layer"
    )
    actor_hidden_shapes: Annotated[list[Size], Field(min_length=1)] | None = Field(
        None, description="hidden units per layer of the actor; null: hidden_shapes"
    )
    norm: Literal["none", "layer"] = Field(
        "none", description="normalisation before each ReLU: LayerNorm, or none"
    )
    normalize_obs: bool = Field(
        False,
        description="normalise each task's observations by the running mean and standard deviation "
        "of all that were collected",
    )
    residual: bool = Field(
        False,
        description="replace every hidden layer after the first with a residual block of two",
    )
    critic: CriticConfig = Field(CriticConfig(), description="the critics")
    task_input: Literal["onehot", "embedding"] = Field(
        "onehot", description="how the task enters a shared trunk"
    )
    embedding_dim: Size = Field(32, description="size of a learned task embedding")
    soft_module: SoftModuleConfig = Field(
        SoftModuleConfig(), description="sizes for kind soft_module"
    )
    paco: PacoConfig = Field(PacoConfig(), description="sizes for kind paco")
    moore: MooreConfig = Field(MooreConfig(), description="sizes for kind moore")
    care: CareConfig = Field(CareConfig(), description="sizes for kind care")
    init: Literal["garage", "metaworld_algorithms", "torch"] = Field(
        "metaworld_algorithms",
        description="initialisation: Xavier (garage), He with small heads (metaworld_algorithms), "
        "or that of torch.nn.Linear (torch)",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.task_input == "embedding" and self.kind not in ("mlp", "multihead"):
            raise ValueError(f'task_input: "embedding" is not supported for kind {self.kind!r}')
        if self.residual and self.kind in ("soft_module", *NEEDS_TASKS):
            raise ValueError(f'residual: is not supported for kind "{self.kind}"')
        for name in ("hidden_shapes", "actor_hidden_shapes"):
            shapes = getattr(self, name)
            if self.kind == "moore" and shapes and self.moore.num_experts > shapes[-1]:
                raise ValueError(
                    f"moore.num_experts: {self.moore.num_experts} representations of {shapes[-1]} "
                    "numbers cannot be orthogonal"
                )
            if self.residual and shapes and len(set(shapes)) > 1:
                raise ValueError(f"{name}: {shapes}: residual layers need equal widths")
        return self

    def hidden(self, role: Literal["actor", "critic"]) -> list[int]:
        """Hidden units of a role's networks."""
        return (role == "actor" and self.actor_hidden_shapes) or self.hidden_shapes


class ReplayBufferConfig(Section):
    """The replay buffer."""

    size: Count = Field(1_000_000, description="capacity in transitions, over all tasks")


class TrainConfig(Section):
    """The epoch loop."""

    num_epochs: Natural = Field(1980, description="training epochs, excluding pretrain epochs")
    pretrain_epochs: Natural = Field(
        20, description="epochs of uniform random actions before the first update"
    )
    epoch_frames: Count = Field(500, description="frames per environment in an epoch")
    opt_steps: Natural = Field(500, description="updates per epoch")
    batch_size: Count = Field(256, description="transitions per update, over all tasks")
    n_step: Few = Field(1, description="n of the n-step returns")
    gradients: Literal["mean", "pcgrad", "cagrad", "famo", "gradnorm"] = Field(
        "mean", description="how the tasks' gradients are combined in shared parameters"
    )
    lr_schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="schedule of all learning rates"
    )
    lr_final: Unit = Field(0.5, description="final fraction of the learning rates (linear, cosine)")
    eval_interval: Count = Field(40, description="epochs between evaluations")
    eval_episodes: Size = Field(10, description="episodes per task in an evaluation")
    final_eval_episodes: Size = Field(50, description="episodes per task in the final evaluation")
    save_interval: Count = Field(20, description="epochs between checkpoints")
    keep_checkpoints: Count = Field(2, description="newest complete checkpoints to keep")
    snapshot_interval: Count | None = Field(
        None, description="epochs between permanent copies of the weights; null: none"
    )
    demos: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="a file of demonstrations, for half of each batch; null: none"
    )
    bc_updates: Natural = Field(
        0, description="updates before training in which the policy imitates the demonstrations"
    )

    def lr_share(self, updates: int) -> float:
        """Fraction of the learning rates that the schedule leaves after this many updates; the
        schedule ends with the last epoch."""
        progress = min(1.0, updates / max(1, self.num_epochs * self.opt_steps))
        falls = {"constant": 0.0, "linear": progress, "cosine": (1 - cos(pi * progress)) / 2}
        return 1 - (1 - self.lr_final) * falls[self.lr_schedule]


def check_address(address: str) -> None:
    """
    Raises:
        ValueError: not a valid Ray address.
    """
    known = ["local", "auto"]
    if address not in known and not re.fullmatch(r"[A-Za-z0-9.-]+:[0-9]{1,5}", address):
        raise ValueError(
            f'address: {json.dumps(address)} is not allowed; it must be "local", "auto" or '
            f"HOST:PORT{nearest(address, known)}"
        )


class RayConfig(Section):
    """Rollout workers as Ray actors, if ``system.workers`` is "ray"."""

    address: str = Field(
        "local",
        description='"local" starts Ray on this machine and ends it with the run; "auto" or '
        "HOST:PORT joins a running cluster",
    )
    num_workers: Few = Field(1, description="Ray actors that share the environments")
    cpus_per_worker: Few = Field(
        1, description="CPUs that Ray reserves per actor; it computes on one"
    )

    @property
    def joins(self) -> bool:
        """Whether the address names a machine, which the run then trusts."""
        return self.address not in ("local", "auto")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_address(self.address)
        return self


class SystemConfig(Section):
    """How the machine is used. ``overlap`` and ``matmul_precision`` change what is learned;
    ``threads`` and ``accel`` change only rounding; with all others, results are bit-identical."""

    workers: Literal["auto", "ray"] | Annotated[int, Field(ge=0, le=2**10)] = Field(
        "auto",
        description='rollout processes; 0: collect in the main process; "ray": Ray actors',
    )
    ray: RayConfig = Field(RayConfig(), description="Ray actors, if workers is ray")
    accel: Literal["auto", "eager", "compile", "graph"] = Field(
        "auto",
        description="how updates run: eager, torch.compile, or a captured graph (CUDA only); "
        "auto: eager",
    )
    overlap: bool = Field(False, description="collect the next epoch while the learner updates")
    threads: Literal["auto"] | Few = Field("auto", description="CPU threads of the learner")
    matmul_precision: Literal["highest", "high", "medium"] = Field(
        "highest", description="precision of float32 matrix products"
    )
    grace_seconds: Annotated[float, Field(ge=0, le=10**6)] = Field(
        20.0,
        description="seconds that the running epoch has to finish and be saved after a signal",
    )
    env_timeout_s: Annotated[float, Field(gt=0, le=10**6)] = Field(
        300.0, description="seconds after which a hung environment stops the run"
    )

    @property
    def num_workers(self) -> int:
        """Number of workers of either kind, once ``auto`` is resolved."""
        return self.ray.num_workers if self.workers == "ray" else int(self.workers)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.overlap and self.workers == 0:
            raise ValueError("overlap: needs at least one worker, but workers is 0")
        return self


Part = Literal["actor", "critic", "alpha", "buffer"]
"""Transferable parts: networks with their targets, temperatures, transitions."""


class TransferConfig(Section):
    """Starting from the weights or transitions of another run."""

    init_from: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="run, checkpoint or file to start from; --init_from sets it"
    )
    load: Literal["auto"] | Annotated[list[Part], Field(min_length=1)] = Field(
        "auto", description="parts to load; auto: actor, critic and alpha, if present"
    )
    lr_multiplier: Positive = Field(
        0.3, description="multiplier of all learning rates if weights were loaded"
    )
    freeze_updates: Natural = Field(
        0, description="first updates that train only the critics, not actor and temperatures"
    )
    task_map: dict[TaskName, TaskName] = Field(
        {},
        description="source task of each task in this run; by default, equal names or two single "
        "tasks are paired",
    )
    optional: bool = Field(False, description="if no weights fit, only warn and train from scratch")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.freeze_updates and self.load != "auto" and "actor" not in self.load:
            raise ValueError('freeze_updates: freezes a loaded actor, but load has no "actor"')
        return self


METAWORLD_INFO = (
    "near_object",
    "grasp_success",
    "grasp_reward",
    "in_place_reward",
    "obj_to_target",
)
"""Numbers that every Meta-World task reports in ``info``."""


class LogConfig(Section):
    """Console, films, tracking, and what environments report."""

    console: Literal["auto", "live", "plain"] = Field(
        "auto", description="auto: a live view on a terminal, else one line per epoch"
    )
    video: bool | Count = Field(
        False,
        description="film one episode per task at every evaluation (true) or every n-th, and at "
        "the end",
    )
    wandb_project: Annotated[str, Field(min_length=1)] = Field(
        "torchrl_lite", description="project on Weights & Biases, used with --track"
    )
    info: Literal["auto"] | list[InfoName] = Field(
        "auto",
        description="numbers in an environment's info to log; auto: on Meta-World "
        f"{', '.join(METAWORLD_INFO)}, else none",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, times in Counter(self.info if self.info != "auto" else ()).items():
            if times > 1:
                raise ValueError(f"info: {name!r} is named twice")
        return self


class Config(Section):
    """A complete run; `check.model` adds the section named after the algorithm."""

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
        """The algorithm's section."""
        return getattr(self, self.algo)

    @property
    def num_tasks(self) -> int:
        return len(self.env.tasks)

    @property
    def info(self) -> tuple[str, ...]:
        """Names of the numbers in ``info`` that are logged."""
        if self.log.info != "auto":
            return tuple(self.log.info)
        return METAWORLD_INFO if self.env.suite == "metaworld" else ()

    @property
    def frames_per_epoch(self) -> int:
        return self.train.epoch_frames * self.env.num_envs

    @property
    def total_frames(self) -> int:
        return self.total_epochs * self.frames_per_epoch

    @property
    def capacity(self) -> int:
        """Capacity of the replay buffer per task, in transitions."""
        return self.replay_buffer.size // self.num_tasks

    @property
    def total_epochs(self) -> int:
        return self.train.pretrain_epochs + self.train.num_epochs

    @model_validator(mode="after")
    def _check(self) -> Self:
        weighted = getattr(getattr(self, self.algo, None), "temperature_weights", False)
        if weighted and self.net.kind == "independent":
            raise ValueError(f"{self.algo}.temperature_weights: would couple independent agents")
        tasks, batch = self.num_tasks, self.train.batch_size
        if tasks == 1 and self.net.kind in NEEDS_TASKS:
            raise ValueError(f'net.kind: "{self.net.kind}" needs several tasks, but there is one')
        self._check_gradients(weighted=weighted)
        if batch % tasks:
            raise ValueError(f"train.batch_size: {batch} is not a multiple of the {tasks} tasks")
        self._check_demos()
        per_task = self.frames_per_epoch // tasks
        if per_task > self.capacity:
            raise ValueError(
                f"replay_buffer.size: {self.replay_buffer.size} is too small: an epoch has "
                f"{per_task} transitions per task, but the buffer would hold {self.capacity}"
            )
        if self.curriculum is not None:
            self.curriculum.stages_of(self.env.tasks)
        for task in self.transfer.task_map if self.transfer is not None else ():
            if task not in self.env.tasks:
                hint = nearest(task, self.env.tasks)
                raise ValueError(f"transfer.task_map: {task!r} is not in env.tasks{hint}")
        return self

    def _check_demos(self) -> None:
        train = self.train
        if train.demos is None:
            needing = {
                "train.bc_updates": train.bc_updates,
                f"{self.algo}.bc_weight": getattr(getattr(self, self.algo, None), "bc_weight", 0.0),
            }
            for key, value in needing.items():
                if value:
                    raise ValueError(f"{key}: needs demonstrations, but train.demos is null")
        elif train.batch_size // self.num_tasks % 2:
            raise ValueError(
                f"train.batch_size: {train.batch_size} is odd for each of the {self.num_tasks} "
                "tasks, but demonstrations are half of each task's batch"
            )

    def _check_gradients(self, *, weighted: bool) -> None:
        method = self.train.gradients
        if method == "mean":
            return
        if self.num_tasks == 1:
            raise ValueError(f'train.gradients: "{method}" needs several tasks, but there is one')
        if self.net.kind == "independent":
            raise ValueError(
                f'train.gradients: "{method}" combines gradients in shared parameters, but '
                "independent agents share none"
            )
        if weighted and method in ("famo", "gradnorm"):
            raise ValueError(
                f'train.gradients: "{method}" learns the weights of the tasks, which '
                f"{self.algo}.temperature_weights would set"
            )
