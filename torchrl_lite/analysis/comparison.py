"""Table of what experiments have reached with the same budget, for comparisons of methods."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from torchrl_lite.analysis.axes import Metric, Until
from torchrl_lite.analysis.results import AVERAGES, PARTS, UNKNOWN, cell, scores
from torchrl_lite.analysis.runs import Run, tasks_of
from torchrl_lite.analysis.statistics import Estimate, over_seeds
from torchrl_lite.analysis.tables import as_markdown

MAX_TASKS = 10
"""More do not fit in the Markdown table; the CSV has all."""


class Row(NamedTuple):
    """An experiment at the last evaluations of its runs within the budget."""

    experiment: str
    seeds: int
    """Seeds with an evaluation of every task."""
    frames: float
    """This and the next two: means over runs; nan without any evaluation."""
    updates: float
    core_hours: float
    success: Estimate | None
    """Mean over the tasks of all experiments, as others cannot be compared; None if a task has no
    run here, or the environment does not report success."""
    ret: Estimate | None
    tasks: dict[str, Estimate | None]
    """Success of each task of all experiments."""
    missing: int
    """Runs without an evaluation within the budget."""


def rows(experiments: Mapping[str, Sequence[Run]], until: Until) -> list[Row]:
    tasks = tasks_of(run for runs in experiments.values() for run in runs)
    return [_row(name, runs, tasks, until) for name, runs in experiments.items()]


def _row(experiment: str, runs: Sequence[Run], tasks: Sequence[str], until: Until) -> Row:
    ends = {run: end for run in runs if (end := run.within(until))}

    def of_seeds(tasks: Sequence[str], metric: Metric) -> Float[ndarray, " S"]:
        own = [run for run in ends if set(tasks) & set(run.tasks)]
        return scores(own, tasks, metric, of=lambda r, task, m: ends[r].get(f"eval_{m}/{task}"))

    def mean(column: str) -> float:
        return float(np.mean([end[column] for end in ends.values()])) if ends else np.nan

    returns = of_seeds(tasks, "return")
    return Row(
        experiment,
        len(returns),
        mean("total_frames"),
        mean("updates"),
        mean("core_hours"),
        _estimate(of_seeds(tasks, "success")),
        _estimate(returns),
        {task: _estimate(of_seeds([task], "success")) for task in tasks},
        len(runs) - len(ends),
    )


def _estimate(found: Float[ndarray, " S"]) -> Estimate | None:
    return over_seeds(found) if len(found) else None


def markdown(found: Sequence[Row], until: Until) -> str:
    tasks = list(found[0].tasks)
    shown = tasks if len(tasks) in range(2, MAX_TASKS + 1) else []
    names = [task.removesuffix("-v3") for task in shown]
    header = ["method", "seeds", "frames", "updates", "core hours", "success", "return", *names]
    cells = []
    for row in found:
        numbers = [
            _number(row.frames, ",.0f"),
            _number(row.updates, ",.0f"),
            _number(row.core_hours, ".3g"),
        ]
        own = [row.tasks[task] for task in shown]
        each = ["-" if e is None else f"{e.value:.2f}" for e in own]
        measured = cell(row.success, 2), cell(row.ret, 1)
        cells.append([row.experiment, str(row.seeds), *numbers, *measured, *each])
    unit = until.axis.replace("_", " ")
    note = (
        f"At the last evaluation within {until.amount:,g} {unit} per run; frames, updates and core "
        f"hours are means over runs. {_missing(found)}{AVERAGES}"
    )
    return f"{as_markdown(header, cells)}\n\n{note}"


def _number(value: float, form: str) -> str:
    return "-" if np.isnan(value) else format(value, form)


def _missing(found: Sequence[Row]) -> str:
    counts = [f"{row.missing} of {row.experiment}" for row in found if row.missing]
    return f"Runs without an evaluation by then: {', '.join(counts)}. " if counts else ""


def write_csv(path: Path, found: Sequence[Row]) -> None:
    """The same numbers, unrounded, with an interval for each task."""
    tasks = list(found[0].tasks)
    names = ["success", "return", *tasks]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        header = ["method", "seeds", "frames", "updates", "core_hours"]
        writer.writerow([*header, *(f"{name}{part}" for name in names for part in PARTS)])
        for row in found:
            estimates = [row.success, row.ret, *row.tasks.values()]
            numbers = [number for estimate in estimates for number in estimate or UNKNOWN]
            writer.writerow([*row[:5], *numbers])
