"""What every model of a configuration is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
MAX_AT_ONCE = 2**16
"""Of anything that is there all at once: units of a layer, environments, planned episodes."""
Size = Annotated[int, Field(ge=1, le=MAX_AT_ONCE)]
Depth = Annotated[int, Field(ge=1, le=100)]
Few = Annotated[int, Field(ge=1, le=2**10)]
"""Steps of a return, modules of a layer, processes: of what there are never more."""
MAX_HORIZON = 10**6
"""Steps of an episode, whose randomness is drawn whole at its beginning."""
Horizon = Annotated[int, Field(ge=1, le=MAX_HORIZON)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Unit = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]
TaskName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*(/[A-Za-z0-9][\w.+-]*)?$")]
"""Gymnasium's ids may have a namespace, as in ``package/Task-v0``."""


class Section(BaseModel):
    """A part of the configuration: frozen, exact types, no unknown key, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
