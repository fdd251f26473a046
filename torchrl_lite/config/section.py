"""Base class and field types of all configuration models."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
MAX_AT_ONCE = 2**16
"""Limit of what is allocated at once: units of a layer, environments, planned episodes."""
Size = Annotated[int, Field(ge=1, le=MAX_AT_ONCE)]
MAX_DEPTH = 100
"""Limit of layers."""
Depth = Annotated[int, Field(ge=1, le=MAX_DEPTH)]
Few = Annotated[int, Field(ge=1, le=2**10)]
"""Small counts: steps of a return, modules of a layer, processes."""
MAX_TASKS = 2**10
"""Limit of tasks, and of stages of tasks."""
MAX_HORIZON = 10**6
"""Limit of steps per episode: all of its randomness is drawn at its start."""
Horizon = Annotated[int, Field(ge=1, le=MAX_HORIZON)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Unit = Annotated[float, Field(ge=0, le=1)]
MAX_SEED = 2**31 - 1
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
MAX_NAME = 255
"""Maximum length of a folder name, in bytes."""
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$"
_TASK = r"^[A-Za-z0-9][A-Za-z0-9_.+-]*(/[A-Za-z0-9][\w.+-]*)?$"
_INFO = r"^[A-Za-z0-9_][A-Za-z0-9_. :-]*$"
PATTERNS = {
    _NAME: "a string of letters, digits and _ . + -",
    _TASK: "a string of letters, digits and _ . + -, also as namespace/name",
    _INFO: "a string of letters, digits, spaces and _ . : -",
}
"""What each pattern allows."""
Name = Annotated[str, Field(min_length=1, pattern=_NAME, max_length=MAX_NAME)]
TaskName = Annotated[str, Field(pattern=_TASK, max_length=MAX_NAME)]
"""Gymnasium ids may have a namespace, as in ``package/Task-v0``."""
InfoName = Annotated[str, Field(pattern=_INFO, max_length=100)]
"""Part of a log column's name."""


class Section(BaseModel):
    """A section of the configuration: frozen, strict types, no unknown keys, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
