"""What a sweep found: one table, in Markdown and in CSV, and the curves."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from torchrl_lite.analysis.figures import learning_curves
from torchrl_lite.analysis.runs import Metric, Run, by_experiment, tasks_of
from torchrl_lite.analysis.statistics import Estimate, interquartile_mean


class Aggregate(NamedTuple):
    """Over the seeds of a task; the interval is that of the interquartile mean."""

    mean: float
    interquartile_mean: Estimate


class Row(NamedTuple):
    experiment: str
    task: str
    seeds: int
    success: Aggregate | None
    ret: Aggregate | None


def rows(runs: Sequence[Run]) -> Iterator[Row]:
    """Of runs that have ended, a row for each task of each experiment."""
    for experiment, group in by_experiment(runs).items():
        for task in tasks_of(group):
            results = [run.result for run in group if task in run.tasks and run.result]
            success, ret = (
                _aggregate([result.get(f"eval_{metric}/{task}") for result in results])
                for metric in ("success", "return")
            )
            yield Row(experiment, task, len(results), success, ret)


def _aggregate(values: Sequence[float | None]) -> Aggregate | None:
    known = np.array([value for value in values if value is not None], dtype=float)
    if len(known) == 0:
        return None
    return Aggregate(float(np.mean(known)), interquartile_mean([known]))


def markdown(found: Sequence[Row]) -> str:
    """Brackets hold the 95 % interval of the interquartile mean beside them."""
    lines = [
        "| experiment | task | seeds | success: mean | IQM [95 %] | return: mean | IQM [95 %] |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found:
        cells = [*_cells(row.success, 2), *_cells(row.ret, 1)]
        lines.append(f"| {row.experiment} | {row.task} | {row.seeds} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(found: Aggregate | None, digits: int) -> tuple[str, str]:
    if found is None:
        return "-", "-"
    value, low, high = found.interquartile_mean
    interval = "" if low is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{found.mean:.{digits}f}", f"{value:.{digits}f}{interval}"


def write(folder: Path, runs: Sequence[Run]) -> str:
    """Writes ``results.md``, ``results.csv`` and ``curves.png``; returns the table.

    ``runs`` have ended. The curves are of success, or of return where no task knows success.
    """
    found = list(rows(runs))
    folder.mkdir(parents=True, exist_ok=True)
    text = markdown(found)
    (folder / "results.md").write_text(text + "\n", encoding="utf-8")
    with (folder / "results.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        names = [f"{m}_{s}" for m in ("success", "return") for s in ("mean", "iqm", "low", "high")]
        writer.writerow(["experiment", "task", "seeds", *names])
        for row in found:
            numbers = [*_numbers(row.success), *_numbers(row.ret)]
            writer.writerow([row.experiment, row.task, row.seeds, *numbers])
    metric: Metric = "success" if any(row.success for row in found) else "return"
    figure = learning_curves(by_experiment(runs), metric=metric)
    figure.savefig(folder / "curves.png", dpi=150)
    return text


def _numbers(found: Aggregate | None) -> tuple[float | None, ...]:
    return (None,) * 4 if found is None else (found.mean, *found.interquartile_mean)
