"""A checkpoint's data about its run, validated by a model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from torch import Tensor

from torchrl_lite.config.reading import why_invalid
from torchrl_lite.errors import CheckpointError

MAX_BYTES = 2**32
"""Maximum size of a weights file; networks for 50 tasks take tens of millions of bytes."""
_Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
_Shape = Annotated[list[Annotated[int, Field(ge=1, le=2**31)]], Field(min_length=2, max_length=2)]


class _Part(BaseModel):
    """Strict types; other keys are ignored."""

    model_config = ConfigDict(strict=True, arbitrary_types_allowed=True)


class _Env(_Part):
    tasks: list[str] = Field(min_length=1)


class _Config(_Part):
    env: _Env


class _Learner(_Part):
    networks: dict[str, Tensor]
    device: str | None = None
    """Type of the device it was trained on."""


class Head(_Part):
    """The data of a weights file or of a complete checkpoint, whose weights are in ``learner``."""

    config: _Config
    frames: _Count | list[_Count]
    shapes: dict[str, _Shape | None] = Field(default_factory=dict)
    origin: list[dict[str, Any]] = Field(default_factory=list)
    networks: dict[str, Tensor] | None = None
    learner: _Learner | None = None

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


def read_head(state: Mapping[str, Any], path: Path) -> Head:
    """
    Raises:
        CheckpointError: no run writes such a state.
    """
    try:
        return Head.model_validate(dict(state))
    except ValidationError as error:
        why = why_invalid(error)
    except RecursionError:
        why = "nested too deeply"
    raise CheckpointError(f"{path}: its tasks, frames or origin are invalid ({why})")
