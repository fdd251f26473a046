"""The configuration of a complete run."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from torchrl_lite.config.curriculum import CurriculumConfig
from torchrl_lite.config.env import EnvConfig
from torchrl_lite.config.hints import nearest
from torchrl_lite.config.log import METAWORLD_INFO, LogConfig
from torchrl_lite.config.net import NEEDS_TASKS, NetConfig
from torchrl_lite.config.section import Section
from torchrl_lite.config.system import SystemConfig
from torchrl_lite.config.train import ReplayBufferConfig, TrainConfig
from torchrl_lite.config.transfer import TransferConfig


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
    def reward_normalization(self) -> Literal["ema", "return"] | None:
        """``env.reward_normalization``, also if it is ``auto``."""
        chosen = self.env.reward_normalization
        if chosen != "auto":
            return chosen
        if self.net.critic.kind != "scalar":  # its values are bounded
            return "return"
        return "ema" if self.env.reward_version == "v1" else None

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
    def task_batch_size(self) -> int:
        """Transitions per task in an update."""
        return self.train.batch_size // self.num_tasks

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
        elif self.task_batch_size % 2:
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
