"""How long the rest of a run takes, and which share of the time evaluations have."""

from collections import deque
from itertools import pairwise
from typing import NamedTuple

from torchrl_lite.reporting.console import Row

EPOCHS, EVALUATIONS = 100, 5
"""The latest epochs and evaluations that a forecast is based on."""


class _Evaluation(NamedTuple):
    frames: int
    """Of the run, when it was made."""
    seconds: float


class Forecast:
    """Time per frame of the latest epochs, plus that of the latest evaluations, apart: evaluations
    are rare, so that a window over both would have too few of them, or too many.

    Epochs without updates (of random actions) tell nothing about those with updates.
    """

    def __init__(self) -> None:
        self._epochs: deque[tuple[int, float]] = deque(maxlen=EPOCHS)  # frames, seconds
        self._evaluations: deque[_Evaluation] = deque(maxlen=EVALUATIONS)
        self._ends = {0: 0}  # frames after the latest epoch

    def add(self, row: Row) -> None:
        """An epoch's row of the log; there may be a gap between two."""
        epoch, frames = int(row["epoch"] or 0), int(row["total_frames"] or 0)
        before = self._ends.get(epoch - 1)
        self._ends = {epoch: frames}
        evaluated = float(row.get("time/eval_s") or 0.0)
        if evaluated:
            self._evaluations.append(_Evaluation(frames, evaluated))
        seconds = float(row.get("time/total_s") or 0.0) - evaluated
        if before is not None and seconds > 0 and row.get("time/update_s"):
            seconds += float(row.get("time/save_s") or 0.0)
            self._epochs.append((frames - before, seconds))

    def seconds(self, frames: int) -> float | None:
        """Seconds that so many more frames take; None before an epoch with updates."""
        if not self._epochs:
            return None
        return frames * (self._training + self._evaluating)

    def frames(self, seconds: float) -> float | None:
        """Frames that so many more seconds suffice for; None before an epoch with updates."""
        each = self.seconds(1)
        return seconds / each if each else None

    @property
    def evaluation_share(self) -> float | None:
        """Share of the time that goes into evaluations; None if unknown."""
        if not self._epochs or not self._evaluations:
            return None
        return self._evaluating / (self._training + self._evaluating)

    @property
    def _training(self) -> float:
        """Seconds per frame."""
        frames, seconds = (sum(part) for part in zip(*self._epochs, strict=True))
        return seconds / max(frames, 1)

    @property
    def _evaluating(self) -> float:
        """Seconds per frame, at the latest distance between two evaluations."""
        if not self._evaluations:
            return 0.0
        between = [later.frames - earlier.frames for earlier, later in pairwise(self._evaluations)]
        distance = sum(between) / len(between) if between else self._evaluations[0].frames
        mean = sum(one.seconds for one in self._evaluations) / len(self._evaluations)
        return mean / max(distance, 1)
