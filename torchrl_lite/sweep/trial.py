"""One run of a sweep, as it travels to the node that trains it."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


@dataclass(frozen=True)
class Trial:
    """A starter, its flags, and where the run lives."""

    starter: str
    argv: tuple[str, ...]
    folder: Path
    total_frames: int
    finished: bool
    """Before the sweep began."""

    @property
    def name(self) -> str:
        return "/".join(self.folder.parts[-3:])


class Outcome(NamedTuple):
    """``error``: the last line that was printed; empty where the run came to its end."""

    code: int
    error: str
