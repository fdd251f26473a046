"""One run of a sweep, as sent to the node that trains it."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torchrl_lite.analysis.axes import Until

MAX_RETRIES = 10
"""How many stops from outside a run survives, such as of its node; limited, as the run itself may
crash its nodes."""


@dataclass(frozen=True)
class Trial:
    """A starter, its flags, and the run directory."""

    starter: str
    argv: tuple[str, ...]
    folder: Path
    total_frames: int
    finished: bool
    """Whether the run was finished, or had used up its budget, before the sweep."""
    until: Until | None = None
    """Its budget, if it may stop before its end."""

    @property
    def name(self) -> str:
        return "/".join(self.folder.parts[-3:])


class Outcome(NamedTuple):
    """``error``: the last line of output; empty if the run finished."""

    code: int
    error: str
