"""The tasks of a run on a terminal of any size."""

from collections.abc import Sequence

from rich.progress_bar import ProgressBar
from rich.table import Table

from torchrl_lite.reporting.console import Row, number

BAR, NUMBERS = 12, 30
"""Characters of a bar, and of a success, a return and a temperature with the gaps between."""


def task_table(
    tasks: Sequence[str], row: Row, evaluation: Row, *, width: int, height: int
) -> Table:
    """Every task, with bars if they fit into ``height`` lines; else the names and successes of as
    many as fit, the worst first."""
    columns = max(1, width // (max(len(task) for task in tasks) + BAR + NUMBERS))
    if -(-len(tasks) // columns) < height:
        lines = min(12, height - 1)
        wanted = min(columns, -(-len(tasks) // lines))
        return _full(tasks, row, evaluation, columns=wanted)
    return _compact(tasks, evaluation, width=width, height=height)


def _full(tasks: Sequence[str], row: Row, evaluation: Row, *, columns: int) -> Table:
    lines = -(-len(tasks) // columns)
    table = Table(box=None, padding=(0, 1))
    for _ in range(columns):
        for header in ("task", "success", "", "return", "alpha"):
            table.add_column(header, justify="left" if header == "task" else "right", no_wrap=True)
    for line in range(lines):
        cells: list[str | ProgressBar] = []
        for task in tasks[line::lines]:
            success = evaluation.get(f"eval_success/{task}")
            cells += [
                task,
                ProgressBar(total=1.0, completed=success or 0.0, width=BAR),
                number(success, ".2f"),
                number(evaluation.get(f"eval_return/{task}"), ".0f"),
                number(row.get(f"train_alpha/{task}"), ".3g"),
            ]
        table.add_row(*cells)
    return table


def _compact(tasks: Sequence[str], evaluation: Row, *, width: int, height: int) -> Table:
    success = {task: evaluation.get(f"eval_success/{task}") for task in tasks}
    worst = sorted(tasks, key=lambda task: (success[task] is not None, success[task] or 0.0))
    each = max(len(task) for task in tasks) + 8  # with ` 0.00` and a gap
    columns = min(max(1, width // each), len(tasks))
    lines = min(max(1, height - 2), -(-len(tasks) // columns))
    shown, rest = worst[: lines * columns], worst[lines * columns :]
    table = Table(box=None, padding=(0, 1), caption=_rest(rest, success), caption_justify="left")
    for _ in range(columns):
        table.add_column("worst tasks" if rest else "task", no_wrap=True)
        table.add_column("", justify="right", no_wrap=True)
    for line in range(lines):
        cells = [
            text for task in shown[line::lines] for text in (task, number(success[task], ".2f"))
        ]
        table.add_row(*cells)
    return table


def _rest(tasks: Sequence[str], success: dict[str, float | int | None]) -> str | None:
    if not tasks:
        return None
    known = [value for task in tasks if (value := success[task]) is not None]
    span = f", success {min(known):.2f} to {max(known):.2f}" if known else ""
    return f"and {len(tasks)} more{span}"
