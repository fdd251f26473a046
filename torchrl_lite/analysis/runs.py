"""Run directories, read as curves and final results."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from pydantic import BaseModel, ValidationError

from torchrl_lite.analysis.axes import AXES, Axis, Metric, Until
from torchrl_lite.checkpoint.records import Result, read_result
from torchrl_lite.config import nearest, read_tree
from torchrl_lite.errors import UserError
from torchrl_lite.reporting.rows import read_rows


class _Env(BaseModel):
    tasks: list[str]


class _Params(BaseModel):
    """The part of a configuration that plots need; it may be from another version."""

    env: _Env


@dataclass(frozen=True)
class Run:
    """A directory ``{log_dir}/{experiment}/{env}/{seed}``."""

    path: Path

    @property
    def experiment(self) -> str:
        return self.path.parts[-3]

    @property
    def seed(self) -> str:
        return self.path.name

    @cached_property
    def tasks(self) -> list[str]:
        """Tasks of its configuration.

        Raises:
            UserError: ``params.json`` is damaged or missing.
        """
        path = self.path / "params.json"
        try:
            return _Params.model_validate(read_tree(path)).env.tasks
        except ValidationError:
            raise UserError(f"{path}: is damaged, or not written by a run (env.tasks)") from None

    @cached_property
    def result(self) -> Result | None:
        """``result.json``; None if the run has not finished."""
        return read_result(self.path)

    def final(self, task: str, metric: Metric) -> float | None:
        """A task's final evaluation, if there is one."""
        return self.result.others.get(f"eval_{metric}/{task}") if self.result else None

    @cached_property
    def columns(self) -> set[str]:
        """Columns of its log with a value in any row."""
        return {name for row in self.rows for name in row}

    def column(self, metric: str, task: str) -> str:
        """The column of a task's metric: "success", "return", the name of a column, or the part of
        its name before the task."""
        column = f"eval_{metric}/{task}" if metric in get_args(Metric) else f"{metric}/{task}"
        return metric if metric in self.columns else column

    @cached_property
    def rows(self) -> list[dict[str, float]]:
        """The measured values of each epoch; an empty cell has no entry.

        Raises:
            UserError: ``log.csv`` is damaged.
        """
        rows = read_rows(self.path / "log.csv")
        return [{name: float(cell) for name, cell in row.items() if cell} for row in rows]

    def curve(
        self, task: str, *, metric: str, axis: Axis
    ) -> tuple[Float[ndarray, " N"], Float[ndarray, " N"]]:
        """A metric of a task: positions on the axis and values; empty if it was never measured."""
        column = self.column(metric, task)
        points = [(place, row[column]) for place, row in self._placed(axis) if column in row]
        return _columns(points)

    def position(self, axis: Axis) -> float:
        """How far the run is; 0 without a log."""
        try:
            return max((place for place, _ in self._placed(axis)), default=0.0)
        except FileNotFoundError:
            return 0.0

    def has_reached(self, until: Until) -> bool:
        return self.position(until.axis) >= until.amount

    def within(self, until: Until) -> dict[str, float] | None:
        """The row of the last evaluation that is not beyond, with the ``core_hours`` until then;
        None if there is none."""
        hours, last = 0.0, None
        evaluated = {f"eval_return/{task}" for task in self.tasks}
        for place, row in self._placed(until.axis):
            hours += row.get("time/cpu_s", 0.0) / 3600
            if place <= until.amount and evaluated <= row.keys():
                last = row | {"core_hours": hours}
        return last

    def _placed(self, axis: Axis) -> Iterator[tuple[float, dict[str, float]]]:
        """The rows with their positions on the axis."""
        place, (position, adds_up) = 0.0, AXES[axis]
        for row in self.rows:
            if position in row:  # older versions did not log it
                place = place + row[position] / 3600 if adds_up else row[position]
                yield place, row

    def own_curve(self, task: str) -> tuple[Float[ndarray, " N"], Float[ndarray, " N"]]:
        """Success of a task over its own training frames, which count only while it is trained."""
        success, frames = f"eval_success/{task}", f"frames/{task}"
        points = [(row[frames], row[success]) for row in self.rows if {frames, success} <= {*row}]
        return _columns(points)


def _columns(
    points: Sequence[tuple[float, float]],
) -> tuple[Float[ndarray, " N"], Float[ndarray, " N"]]:
    array = np.array(points, dtype=float).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def check_metric(metric: str, runs: Iterable[Run]) -> None:
    """
    Raises:
        UserError: no run has such a column.
    """
    names: set[str] = set(get_args(Metric))
    for run in runs:
        own = {column.removesuffix(f"/{task}") for column in run.columns for task in run.tasks}
        names |= run.columns | own
    if metric not in names:
        raise UserError(
            f"--metric: no run has a column {metric!r}{nearest(metric, sorted(names))}; it takes "
            "success, return, any column of log.csv, or its name without the task, as in "
            "train_alpha"
        )


def find_runs(paths: Iterable[Path]) -> list[Run]:
    """Every run at or below the paths, sorted within each path.

    Raises:
        UserError: a path does not exist, or contains no run.
    """
    found: list[Run] = []
    for path in paths:
        if not path.exists():
            raise UserError(f"{path} does not exist")
        logs = sorted(log.parent.resolve() for log in path.rglob("log.csv"))
        runs = [Run(folder) for folder in logs if (folder / "params.json").exists()]
        if not runs:
            raise UserError(f"{path} contains no run: no folder with log.csv and params.json")
        found += [run for run in runs if run not in found]
    return found


def by_experiment(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Group runs by experiment; equal names in different folders get enough of the path to
    distinguish them."""
    places: dict[Path, list[Run]] = {}
    for run in runs:
        places.setdefault(run.path.parents[1], []).append(run)
    return {_label(place, [*places]): group for place, group in places.items()}


def by_seed(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Group runs by seed, such as the single-task runs of an experiment."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.seed, []).append(run)
    return groups


def _label(place: Path, places: Sequence[Path]) -> str:
    same = [other for other in places if other.name == place.name]
    return place.name if len(same) == 1 else os.path.relpath(place, os.path.commonpath(same))


def tasks_of(runs: Iterable[Run]) -> list[str]:
    """All distinct tasks, in order of appearance."""
    return list(dict.fromkeys(task for run in runs for task in run.tasks))
