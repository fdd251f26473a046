"""How much of a run ``--until`` asks for."""

from torchrl_lite.analysis.axes import Until
from torchrl_lite.reporting.console import Row
from torchrl_lite.reporting.forecast import Forecast
from torchrl_lite.reporting.rows import Past


class Budget:
    """Frames or core time after which a process stops; without ``until``, the whole run."""

    def __init__(self, until: Until | None) -> None:
        self.until = until
        self._core_hours = 0.0
        """Of the epochs in ``log.csv``, which outlasts this process."""
        self._pace = Forecast()
        """In core time."""

    def resume(self, past: Past) -> None:
        self._core_hours = past.core_hours
        for row in past.latest:
            self._add_to_pace(row)

    def add(self, row: Row) -> None:
        """An epoch of this process."""
        self._core_hours += (row["time/cpu_s"] or 0.0) / 3600
        self._add_to_pace(row)

    def _add_to_pace(self, row: Row) -> None:
        parts = {"time/eval_s": None, "time/save_s": None}  # in the CPU time of the epoch
        self._pace.add({**row, **parts, "time/total_s": row.get("time/cpu_s")})

    def is_used_up(self, frames: int) -> bool:
        """Whether the run has got there with so many frames."""
        if self.until is None:
            return False
        done = frames if self.until.axis == "frames" else self._core_hours
        return done >= self.until.amount

    def total_frames(self, whole: int, *, done: int) -> int:
        """Frames, of the ``whole`` run's, at which it gets there; a core time is converted at the
        pace of the latest epochs, from the first one with updates on."""
        if self.until is None:
            return whole
        if self.until.axis == "frames":
            return min(whole, int(self.until.amount))
        left = max(self.until.amount - self._core_hours, 0.0) * 3600
        frames = self._pace.frames(left)
        return whole if frames is None else min(whole, done + round(frames))
