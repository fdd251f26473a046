"""What curves show, and over what."""

from typing import Literal, NamedTuple

Metric = Literal["success", "return"]
Axis = Literal["frames", "updates", "hours", "core_hours"]


class Place(NamedTuple):
    """How a row of the log tells where on an axis it is."""

    column: str
    adds_up: bool
    """Whether the column has the seconds of an epoch."""


AXES: dict[Axis, Place] = {
    "frames": Place("total_frames", adds_up=False),
    "updates": Place("updates", adds_up=False),
    "hours": Place("time/total_s", adds_up=True),
    "core_hours": Place("time/cpu_s", adds_up=True),
}
