"""Metrics and x-axes of learning curves, and places on them."""

from typing import Literal, NamedTuple

Metric = Literal["success", "return"]
"""What final results are told by; curves show these, or any column of the log."""
Axis = Literal["frames", "updates", "hours", "core_hours"]


class Place(NamedTuple):
    """How a row of the log is placed on an axis."""

    column: str
    adds_up: bool
    """Whether the column has the seconds of one epoch, to be summed."""


AXES: dict[Axis, Place] = {
    "frames": Place("total_frames", adds_up=False),
    "updates": Place("updates", adds_up=False),
    "hours": Place("time/total_s", adds_up=True),
    "core_hours": Place("time/cpu_s", adds_up=True),
}


class Until(NamedTuple):
    """Where a run stops: after the first epoch that gets there."""

    axis: Axis
    amount: float

    @property
    def flag(self) -> str:
        """As ``--until`` reads it."""
        return f"{self.amount}h" if self.axis == "core_hours" else str(self.amount)
