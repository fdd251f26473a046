"""Table of the final results of finished runs, for plots and sweeps."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from torchrl_lite.analysis.runs import Metric, Run, by_seed, tasks_of
from torchrl_lite.analysis.statistics import MANY_SEEDS, Estimate, over_seeds
from torchrl_lite.analysis.tables import as_markdown

AVERAGES = (
    f"Over tasks: the mean. Over seeds: the mean; from {MANY_SEEDS} seeds on, the interquartile "
    "mean with its 95 % bootstrap interval."
)
PARTS = ("", "_low", "_high")
"""Column suffixes of an `Estimate`: its value and its interval."""
UNKNOWN = (None, None, None)


class Row(NamedTuple):
    """Results of one task, or of all tasks of an experiment."""

    experiment: str
    task: str
    seeds: int
    """Seeds with a result for every task."""
    frames: list[int]
    """The distinct numbers of environment steps of the runs."""
    success: Estimate | None
    """None if the environment does not report success."""
    ret: Estimate | None


def rows(experiments: Mapping[str, Sequence[Run]]) -> Iterator[Row]:
    """A row for each task of each experiment, and one for their mean if there are several. Only
    finished runs count."""
    for experiment, runs in experiments.items():
        finished = [run for run in runs if run.result]
        tasks = tasks_of(finished)
        for task in tasks:
            yield _row(experiment, task, finished, [task])
        if len(tasks) > 1:
            yield _row(experiment, f"mean of {len(tasks)} tasks", finished, tasks)


def _row(experiment: str, name: str, runs: Sequence[Run], tasks: Sequence[str]) -> Row:
    own = [run for run in runs if set(tasks) & set(run.tasks)]
    success, ret = (scores(own, tasks, metric) for metric in ("success", "return"))
    return Row(
        experiment,
        name,
        max(len(success), len(ret)),
        sorted({run.result.frames for run in own if run.result}),
        over_seeds(success) if len(success) else None,
        over_seeds(ret) if len(ret) else None,
    )


def scores(
    runs: Sequence[Run],
    tasks: Sequence[str],
    metric: Metric,
    *,
    of: Callable[[Run, str, Metric], float | None] = Run.final,
) -> Float[ndarray, " S"]:
    """The mean over tasks, for each seed that has all of them; ``of`` is the score of a task in a
    run."""
    means = []
    for group in by_seed(runs).values():
        found = [[of(run, task, metric) for run in group if task in run.tasks] for task in tasks]
        known = [[value for value in values if value is not None] for values in found]
        if all(known):
            means.append(np.mean([np.mean(values) for values in known]))
    return np.array(means, dtype=np.float64)


def markdown(found: Sequence[Row]) -> str:
    cells = []
    for row in found:
        frames = " / ".join(f"{count:,}" for count in row.frames) or "-"
        measured = cell(row.success, 2), cell(row.ret, 1)
        cells.append((row.experiment, row.task, str(row.seeds), frames, *measured))
    header = ("experiment", "task", "seeds", "frames", "success", "return")
    return f"{as_markdown(header, cells)}\n\n{AVERAGES}"


def cell(estimate: Estimate | None, digits: int) -> str:
    if estimate is None:
        return "-"
    value, low, high = estimate
    interval = "" if low is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{interval}"


def write_csv(path: Path, found: Sequence[Row]) -> None:
    """The same numbers, unrounded."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        names = [f"{metric}{part}" for metric in ("success", "return") for part in PARTS]
        writer.writerow(["experiment", "task", "seeds", *names])
        for row in found:
            numbers = [*(row.success or UNKNOWN), *(row.ret or UNKNOWN)]
            writer.writerow([row.experiment, row.task, row.seeds, *numbers])
