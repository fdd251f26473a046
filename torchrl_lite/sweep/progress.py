"""Progress of a sweep's runs, read from their directories and displayed."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table

from torchrl_lite.reporting.forecast import EPOCHS, Forecast
from torchrl_lite.reporting.rows import Past, read_past
from torchrl_lite.sweep.trial import Trial
from torchrl_lite.training.budget import Budget

State = Literal["waiting", "running", "done", "failed"]


class Logged(NamedTuple):
    """What ``log.csv`` says about a run, as its own view does."""

    frames: int = 0
    success: float | None = None
    total_frames: int = 0
    """Where the run will stop; with a budget of core time, an estimate."""
    seconds_left: float | None = None


class Line(NamedTuple):
    """A run as displayed."""

    trial: Trial
    state: State
    node: str | None
    logged: Logged


class Logs:
    """Logs of runs, reread only if they changed; a damaged log counts as empty."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], Logged]] = {}

    def read(self, trial: Trial) -> Logged:
        path = trial.folder / "log.csv"
        try:
            stat = path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if self._known.get(path, (None,))[0] != stamp:
                self._known[path] = (stamp, _logged(trial, read_past(path, sys.maxsize, EPOCHS)))
        except (OSError, ValueError):
            return _logged(trial, Past((), 0, 0.0, []))
        return self._known[path][1]


def _logged(trial: Trial, past: Past) -> Logged:
    budget, forecast = Budget(trial.until), Forecast()
    budget.resume(past)
    done, success = 0, None
    for row in past.latest:
        forecast.add(row)
        done, success = int(row["total_frames"] or 0), row.get("eval/success_rate", success)
    total = budget.total_frames(trial.total_frames, done=done)
    return Logged(done, success, total, forecast.seconds(max(total - done, 0)))


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
            logged = line.logged
            left = logged.seconds_left if line.state == "running" else None
            shown.add_row(
                line.trial.name,
                line.state,
                line.node or "",
                f"{logged.frames:,} / {logged.total_frames:,}",
                "-" if logged.success is None else f"{logged.success:.2f}",
                "-" if left is None else f"{left // 3600:.0f}:{left % 3600 // 60:02.0f} h",
            )
    return shown
