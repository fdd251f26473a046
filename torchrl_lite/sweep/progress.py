"""Progress of a sweep's runs, read from their directories and displayed."""

from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table

from torchrl_lite.reporting.rows import Cells, read_rows
from torchrl_lite.sweep.trial import Trial

State = Literal["waiting", "running", "done", "failed"]
RECENT = 20
"""Number of recent epochs whose mean pace predicts the time left."""


class Logged(NamedTuple):
    """What ``log.csv`` says about a run; ``pace`` is in seconds per frame."""

    frames: int = 0
    success: float | None = None
    pace: float | None = None
    core_hours: float = 0.0


class Line(NamedTuple):
    """A run as displayed."""

    trial: Trial
    state: State
    node: str | None
    logged: Logged

    @property
    def total_frames(self) -> int:
        """Where the run will stop; with a budget of core time, an estimate."""
        until, total = self.trial.until, self.trial.total_frames
        if until is None:
            return total
        if until.axis == "frames":
            return min(total, int(until.amount))
        if not self.logged.core_hours:
            return total
        return min(total, int(self.logged.frames * until.amount / self.logged.core_hours))

    @property
    def seconds_left(self) -> float | None:
        if self.state != "running" or self.logged.pace is None:
            return None
        return max(self.total_frames - self.logged.frames, 0) * self.logged.pace


class Logs:
    """Logs of runs, reread only if they changed; a damaged log counts as empty."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], Logged]] = {}

    def read(self, folder: Path) -> Logged:
        path = folder / "log.csv"
        try:
            stat = path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if self._known.get(folder, (None,))[0] != stamp:
                self._known[folder] = (stamp, _logged(path))
        except (OSError, ValueError, LookupError):
            return Logged()
        return self._known[folder][1]


def _logged(path: Path) -> Logged:
    recent: deque[Cells] = deque(maxlen=RECENT + 1)
    success, cpu_s = "", 0.0
    for row in read_rows(path):
        recent.append(row)
        success = row["eval/success_rate"] or success
        cpu_s += float(row.get("time/cpu_s") or 0)
    if not recent:
        return Logged()
    done = int(recent[-1]["total_frames"])
    first, *after = recent
    frames = done - int(first["total_frames"]) if after else done
    seconds = sum(float(row["time/total_s"] or 0) for row in after or recent)
    return Logged(
        done,
        float(success) if success else None,
        seconds / frames if frames else None,
        cpu_s / 3600,
    )


class View(Protocol):
    def show(self, lines: Sequence[Line]) -> None: ...

    def close(self) -> None: ...


def make_view() -> View:
    """A live table on a terminal; elsewhere, one line per change."""
    console = Console()
    live = console.is_terminal and not console.is_dumb_terminal
    return LiveView(console) if live else PlainView()


class PlainView:
    def __init__(self) -> None:
        self._shown: dict[Trial, tuple[State, str | None]] = {}

    def show(self, lines: Sequence[Line]) -> None:
        for line in lines:
            now = (line.state, line.node)
            if self._shown.get(line.trial, ("waiting", None)) != now:
                where = f" on {line.node}" if line.node else ""
                print(f"{line.trial.name}: {line.state}{where}", flush=True)
            self._shown[line.trial] = now

    def close(self) -> None:
        pass


class LiveView:
    """A table of running and failed runs, with the number of runs in each state."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False)
        self._live.start()

    def show(self, lines: Sequence[Line]) -> None:
        self._live.update(table(lines), refresh=True)

    def close(self) -> None:
        self._live.stop()


def table(lines: Sequence[Line]) -> Table:
    counts = Counter(line.state for line in lines)
    states: tuple[State, ...] = ("running", "waiting", "done", "failed")
    title = f"{len(lines)} runs: " + ", ".join(f"{counts[state]} {state}" for state in states)
    shown = Table(title=title, title_justify="left", box=None)
    for column in ("run", "state", "node", "frames", "success", "time left"):
        shown.add_column(column, justify="left" if column in ("run", "state", "node") else "right")
    for line in lines:
        if line.state in ("running", "failed"):
            success, left = line.logged.success, line.seconds_left
            shown.add_row(
                line.trial.name,
                line.state,
                line.node or "",
                f"{line.logged.frames:,} / {line.total_frames:,}",
                "-" if success is None else f"{success:.2f}",
                "-" if left is None else f"{left // 3600:.0f}:{left % 3600 // 60:02.0f} h",
            )
    return shown
