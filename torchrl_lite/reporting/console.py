"""Console output of a run: a live view on a terminal, else one line per epoch."""

import sys
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.table import Table

Row = dict[str, float | int | None]


class View(Protocol):
    """Shows epochs, the phases within them, and progress towards the expected total of frames."""

    def expect(self, total_frames: int) -> None: ...

    def phase(self, name: str) -> None: ...

    def epoch(self, row: Row, *, best: float | None) -> None: ...

    def say(self, text: str) -> None: ...

    def close(self) -> None: ...


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


def _number(value: float | int | None, form: str) -> str:
    return "-" if value is None else format(value, form)


class PlainView:
    """One line per epoch, for files and pipes."""

    def __init__(self, title: str, tasks: Sequence[str], total_frames: int) -> None:
        self._total = total_frames
        self._tasks = tasks if len(tasks) > 1 else ()
        print(title, flush=True)

    def expect(self, total_frames: int) -> None:
        self._total = total_frames

    def phase(self, name: str) -> None:
        pass

    def epoch(self, row: Row, *, best: float | None) -> None:
        shown = row if row.get("eval/success_rate") is None else row | {"best": best}
        parts = [f"epoch {row['epoch']}", f"frames {row['total_frames']}/{self._total}"]
        for key, label, form in (
            ("rollout/ep_rew_mean", "return", ".1f"),
            ("stage/success", "stage success", ".2f"),
            ("eval/success_rate", "eval success", ".2f"),
            ("eval/return", "eval return", ".1f"),
            ("best", "best success", ".2f"),
            ("train/alpha", "alpha", ".3g"),
            ("train/entropy", "entropy", ".2f"),
            ("train/q", "Q", ".1f"),
            ("rate/frames_per_second", "frames/s", ".0f"),
            ("rate/updates_per_second", "updates/s", ".0f"),
        ):
            if shown.get(key) is not None:
                parts.append(f"{label} {shown[key]:{form}}")
        print("  ".join(parts), flush=True)
        successes = [(task, row.get(f"eval_success/{task}")) for task in self._tasks]
        if any(value is not None for _, value in successes):
            texts = [f"{task} {_number(value, '.2f')}" for task, value in successes]
            print("  success: " + "  ".join(texts), flush=True)

    def say(self, text: str) -> None:
        print(text, flush=True)

    def close(self) -> None:
        sys.stdout.flush()


class LiveView:
    """A progress bar with the remaining time, rates, and the last and best evaluation."""

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
            MofNCompleteColumn(),
            TextColumn("frames, left"),
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=600,
        )
        self._task = self._bar.add_task(title, total=total_frames, completed=done_frames)
        self._row: Row = {}
        self._evaluation: Row = {}
        self._best: float | None = None
        self._phase = "building environments"
        self._live = Live(self, console=console, refresh_per_second=4)
        self._live.start()

    def __rich__(self) -> Group:
        row, evaluation = self._row, self._evaluation
        table = Table.grid(padding=(0, 3))
        table.add_row(
            f"epoch {row.get('epoch', 0)}",
            f"[dim]{self._phase}",
            f"{_number(row.get('rate/frames_per_second'), ',.0f')} frames/s",
            f"{_number(row.get('rate/updates_per_second'), ',.0f')} updates/s",
        )
        table.add_row(
            f"train return {_number(row.get('rollout/ep_rew_mean'), '.1f')}",
            f"alpha {_number(row.get('train/alpha'), '.3g')}",
            f"entropy {_number(row.get('train/entropy'), '.2f')}",
            f"Q {_number(row.get('train/q'), '.1f')}",
        )
        table.add_row(
            f"evaluation at {_number(evaluation.get('total_frames'), ',')}",
            f"success {_number(evaluation.get('eval/success_rate'), '.2f')}",
            f"return {_number(evaluation.get('eval/return'), '.1f')}",
            f"best success {_number(self._best, '.2f')}",
        )
        return Group(self._bar, table, *([self._task_table()] if self._tasks else []))

    def _task_table(self) -> Table:
        """A line per task with a success bar; several columns for many tasks."""
        columns = min(-(-len(self._tasks) // 12), max(1, self._live.console.width // 60))
        lines = -(-len(self._tasks) // columns)
        table = Table(box=None, padding=(0, 1))
        for _ in range(columns):
            for header in ("task", "success", "", "return", "alpha"):
                table.add_column(header, justify="left" if header == "task" else "right")
        for line in range(lines):
            cells: list[str | ProgressBar] = []
            for task in self._tasks[line::lines]:
                success = self._evaluation.get(f"eval_success/{task}")
                cells += [
                    task,
                    ProgressBar(total=1.0, completed=success or 0.0, width=12),
                    _number(success, ".2f"),
                    _number(self._evaluation.get(f"eval_return/{task}"), ".0f"),
                    _number(self._row.get(f"train_alpha/{task}"), ".3g"),
                ]
            table.add_row(*cells)
        return table

    def expect(self, total_frames: int) -> None:
        self._bar.update(self._task, total=total_frames)

    def phase(self, name: str) -> None:
        self._phase = name

    def epoch(self, row: Row, *, best: float | None) -> None:
        self._row, self._best = row, best
        if row.get("eval/return") is not None:
            self._evaluation = row
        self._bar.update(self._task, completed=row["total_frames"])

    def say(self, text: str) -> None:
        self._live.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        self._phase = "done"
        self._live.stop()
