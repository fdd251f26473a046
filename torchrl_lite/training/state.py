"""The state of training, as a complete checkpoint holds it."""

from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from torchrl_lite.checkpoint.state import Count, Part, StoredRows
from torchrl_lite.collector.info import Reported
from torchrl_lite.collector.protocol import Cost
from torchrl_lite.policies.head import Head, LearnerHead
from torchrl_lite.training.curriculum import Progress

Tensors = dict[str, Tensor]


class _Optimizer(Part):
    state: dict[int, Tensors]
    param_groups: list[dict[str, Any]]


class _Learner(LearnerHead):
    optimizers: dict[str, _Optimizer]
    device: str
    gradients: dict[str, Tensors]
    generator: Tensor
    updates: Count
    imitations: Count
    frozen_updates: Count


class _Stages(Part):
    progress: Progress
    stage: Count
    submitted: Count
    check_frames: Count
    best_success: dict[str, float]


class _Site(Part):
    """An environment: the number of its episode, and the position in it if it is running."""

    episode: Annotated[int, Field(ge=-1, le=2**63 - 1)]
    position: Tensors | None


class _Episode(Part):
    task: Count
    ret: float
    length: Count
    success: float | None
    sample: None
    rewards: None
    info: dict[str, Reported]


class _Ready(Part):
    """An epoch that was collected and not taken yet."""

    block: Tensors
    episodes: list[_Episode]
    cost: Cost


class _Collector(Part):
    sites: dict[str, _Site]
    ready: _Ready | None


class _Buffer(StoredRows):
    retired: list[Count]
    reward_scale: Tensor


class TrainingState(Head):
    """Shapes are checked where the tensors are loaded."""

    frames: list[Count]
    epoch: Count
    learned: dict[str, float | None]
    demos: str | None
    curriculum: _Stages
    learner: _Learner
    reward_scale: Tensors | None
    collector: _Collector
    buffer: _Buffer
    best: Annotated[list[float], Field(min_length=2, max_length=2)] | None
    wall_time: Annotated[float, Field(ge=0, allow_inf_nan=False)]
