"""A checkpoint's data about its run, validated by a model."""

import json
from typing import Annotated, Any

from pydantic import Field, field_validator
from torch import Tensor

from torchrl_lite.checkpoint.state import Count, Part

MAX_BYTES = 2**32
"""Maximum size of a weights file; networks for 50 tasks take tens of millions of bytes."""
_Shape = Annotated[list[Annotated[int, Field(ge=1, le=2**31)]], Field(min_length=2, max_length=2)]


class _Env(Part):
    tasks: list[str] = Field(min_length=1)


class _Critic(Part):
    kind: str = "scalar"
    bound: float = 5.0


class Net(Part):
    """What changes the networks' function without leaving a trace in their tensors."""

    norm: str = "none"
    residual: bool = False
    critic: _Critic = _Critic()


class _Config(Part):
    env: _Env
    net: Net = Net()


class LearnerHead(Part):
    networks: dict[str, Tensor]


class Head(Part):
    """The data of a weights file or of a complete checkpoint, whose weights are in ``learner``."""

    config: _Config
    frames: Count | list[Count]
    shapes: dict[str, _Shape | None] = Field(default_factory=dict)
    origin: list[dict[str, Any]] = Field(default_factory=list)
    networks: dict[str, Tensor] | None = None
    learner: LearnerHead | None = None

    @field_validator("origin")
    @classmethod
    def _as_json(cls, value: Any) -> Any:
        """A run writes it to ``result.json``."""
        try:
            return json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, RecursionError):
            raise ValueError("not representable in JSON") from None

    @property
    def total_frames(self) -> int:
        return self.frames if isinstance(self.frames, int) else sum(self.frames)

    @property
    def weights(self) -> dict[str, Tensor] | None:
        return self.learner.networks if self.learner else self.networks
