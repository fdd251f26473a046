"""The live view of a run on a terminal."""

import time
from collections.abc import Sequence
from datetime import timedelta

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from torchrl_lite.reporting.console import PlainView, Row, View, number
from torchrl_lite.reporting.forecast import Forecast
from torchrl_lite.reporting.task_table import task_table

OTHER_LINES = 6
"""Lines of the view without its tasks, and one for the cursor."""
LONG_S = 2.0
"""After so many seconds, a part of an epoch shows how long it has taken."""


def make_view(
    kind: str, *, title: str, tasks: Sequence[str], total_frames: int, done_frames: int
) -> View:
    """``auto`` is live on a terminal with cursor control, else plain."""
    console = Console()
    live = kind == "live" or (
        kind == "auto" and console.is_terminal and not console.is_dumb_terminal
    )
    if live:
        return LiveView(console, title, tasks, total_frames, done_frames)
    return PlainView(title, tasks, total_frames)


class LiveView:
    """A progress bar with the remaining time, what is being done, rates, and the last and best
    evaluation."""

    def __init__(
        self,
        console: Console,
        title: str,
        tasks: Sequence[str],
        total_frames: int,
        done_frames: int,
    ) -> None:
        self._tasks = tasks if len(tasks) > 1 else ()
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("[green]{task.completed:,.0f}/{task.total:,.0f}[/] frames"),
            console=console,
        )
        self._task = self._bar.add_task(title, total=total_frames, completed=done_frames)
        self._total, self._done = total_frames, done_frames
        self._forecast, self._at = Forecast(), time.monotonic()
        self._row: Row = {}
        self._evaluation: Row = {}
        self._best: float | None = None
        self.phase("building environments")
        self._live = Live(self, console=console, refresh_per_second=4)
        self._live.start()

    def __rich__(self) -> Group:
        row, evaluation = self._row, self._evaluation
        table = Table.grid(padding=(0, 3))
        table.add_row(
            f"epoch {row.get('epoch', 0)}",
            f"{number(row.get('rate/frames_per_second'), ',.0f')} frames/s",
            f"{number(row.get('rate/updates_per_second'), ',.0f')} updates/s",
        )
        table.add_row(
            f"train return {number(row.get('rollout/ep_rew_mean'), '.1f')}",
            f"alpha {number(row.get('train/alpha'), '.3g')}",
            f"entropy {number(row.get('train/entropy'), '.2f')}",
            f"Q {number(row.get('train/q'), '.1f')}",
        )
        table.add_row(
            f"evaluation at {number(evaluation.get('total_frames'), ',')}",
            f"success {number(evaluation.get('eval/success_rate'), '.2f')}",
            f"return {number(evaluation.get('eval/return'), '.1f')}",
            f"best success {number(self._best, '.2f')}",
        )
        now = f"{self._left()}   [dim]{self._phase_text()}"
        return Group(self._bar, now, table, *([self._task_table()] if self._tasks else []))

    def _task_table(self) -> Table:
        size = self._live.console.size
        return task_table(
            self._tasks,
            self._row,
            self._evaluation,
            width=size.width,
            height=size.height - OTHER_LINES,
        )

    def _left(self) -> str:
        seconds = self._forecast.seconds(max(self._total - self._done, 0))
        if seconds is None:
            return "time left: known after an epoch with updates"
        left = max(seconds - (time.monotonic() - self._at), 0.0)
        share = self._forecast.evaluation_share
        share_text = "" if share is None else f" (evaluations {share:.0%} of the time)"
        return f"{timedelta(seconds=round(left))} left{share_text}"

    def _phase_text(self) -> str:
        count = f" {self._part[0]:,} of {self._part[1]:,}" if self._part else ""
        seconds = time.monotonic() - self._since
        return f"{self._phase}{count}" + (f", {seconds:.0f} s" if seconds > LONG_S else "")

    def expect(self, total_frames: int) -> None:
        self._total = total_frames
        self._bar.update(self._task, total=total_frames)

    def phase(self, name: str) -> None:
        self._phase, self._since = name, time.monotonic()
        self._part: tuple[int, int] | None = None

    def progress(self, done: int, total: int) -> None:
        self._part = done, total

    def resume(self, rows: Sequence[Row], *, best: float | None) -> None:
        for row in rows:
            self._show(row)
        self._best = best

    def epoch(self, row: Row, *, best: float | None) -> None:
        self._show(row)
        self._best = best

    def _show(self, row: Row) -> None:
        self._row, self._at = row, time.monotonic()
        self._forecast.add(row)
        if row.get("eval/return") is not None:
            self._evaluation = row
        self._done = int(row["total_frames"] or 0)
        self._bar.update(self._task, completed=self._done)

    def say(self, text: str) -> None:
        self._live.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        self.phase("done")
        self._live.stop()
