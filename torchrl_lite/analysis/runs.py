"""Run directories, read as curves and final results."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from pydantic import BaseModel, ValidationError

from torchrl_lite.analysis.axes import AXES, Axis, Metric, Until
from torchrl_lite.analysis.log import Log
from torchrl_lite.checkpoint.records import Result, read_result, read_versions
from torchrl_lite.config import nearest, read_tree
from torchrl_lite.config.env import set_name
from torchrl_lite.errors import UserError
from torchrl_lite.reporting.rows import read_rows


class _Env(BaseModel):
    tasks: list[str]
    name: str | None = None


class _Params(BaseModel):
    """The part of a configuration that plots need; it may be from another version."""

    env: _Env


@dataclass(frozen=True)
class Run:
    """A run directory: ``{log_dir}/{experiment}/{env}/{seed}``, or any other folder."""

    path: Path

    @property
    def experiment(self) -> Path:
        """The folder of its experiment; the run's own if its path is not that of an experiment, as
        the library's ``train`` may be given any."""
        env, name = self._env, self.path.parent.name
        standard = self.path.name == self.seed and name == set_name(env.tasks, env.name)
        return self.path.parents[1] if standard else self.path

    @cached_property
    def seed(self) -> str:
        """Of ``versions.json``; without that file, the name of the folder."""
        versions = read_versions(self.path)
        return self.path.name if versions is None else str(versions.seed)

    @property
    def tasks(self) -> list[str]:
        """Tasks of its configuration.

        Raises:
            UserError: ``params.json`` is damaged or missing.
        """
        return self._env.tasks

    @cached_property
    def _env(self) -> _Env:
        path = self.path / "params.json"
        try:
            return _Params.model_validate(read_tree(path)).env
        except ValidationError:
            raise UserError(f"{path}: is damaged, or not written by a run (env.tasks)") from None

    @cached_property
    def result(self) -> Result | None:
        """``result.json``; None if the run has not finished."""
        return read_result(self.path)

    def final(self, task: str, metric: Metric) -> float | None:
        """A task's final evaluation, if there is one."""
        return self.result.others.get(f"eval_{metric}/{task}") if self.result else None

    def column(self, metric: str, task: str) -> str:
        """The column of a task's metric: "success", "return", the name of a column, or the part of
        its name before the task."""
        column = f"eval_{metric}/{task}" if metric in get_args(Metric) else f"{metric}/{task}"
        return metric if metric in self.log.columns else column

    @cached_property
    def log(self) -> Log:
        """
        Raises:
            UserError: ``log.csv`` is damaged.
            FileNotFoundError: it does not exist.
        """
        return Log(read_rows(self.path / "log.csv"))

    def curve(
        self, task: str, *, metric: str, axis: Axis
    ) -> tuple[Float[ndarray, " N"], Float[ndarray, " N"]]:
        """A metric of a task: positions on the axis and values; empty if it was never measured."""
        return _measured(self._places(axis), self.log.column(self.column(metric, task)))

    def position(self, axis: Axis) -> float:
        """How far the run is; 0 without a log."""
        try:
            places = self._places(axis)
            return float(places[~np.isnan(places)].max(initial=0.0))
        except FileNotFoundError:
            return 0.0

    def has_reached(self, until: Until) -> bool:
        return self.position(until.axis) >= until.amount

    def within(self, until: Until) -> dict[str, float] | None:
        """The row of the last evaluation that is not beyond, with the ``core_hours`` until then;
        None if there is none."""
        places = self._places(until.axis)
        fits = places <= until.amount
        for task in self.tasks:
            fits &= ~np.isnan(self.log.column(f"eval_return/{task}"))
        (rows,) = fits.nonzero()
        if not rows.size:
            return None
        last = int(rows[-1])
        return self.log[last] | {"core_hours": float(self._hours("time/cpu_s")[last])}

    def _places(self, axis: Axis) -> Float[ndarray, " N"]:
        """Of the epochs on the axis; NaN where its column has none, as in older versions."""
        position, adds_up = AXES[axis]
        values = self.log.column(position)
        if not adds_up:
            return values
        return np.where(np.isnan(values), np.nan, self._hours(position))

    def _hours(self, column: str) -> Float[ndarray, " N"]:
        """A column of seconds, summed up until each epoch."""
        seconds = self.log.column(column)
        return np.cumsum(np.where(np.isnan(seconds), 0.0, seconds) / 3600)

    def own_curve(self, task: str) -> tuple[Float[ndarray, " N"], Float[ndarray, " N"]]:
        """Success of a task over its own training frames, which count only while it is trained."""
        return _measured(self.log.column(f"frames/{task}"), self.log.column(f"eval_success/{task}"))


def _measured(
    places: Float[ndarray, " N"], values: Float[ndarray, " N"]
) -> tuple[Float[ndarray, " M"], Float[ndarray, " M"]]:
    """The points that have both."""
    both = ~np.isnan(places) & ~np.isnan(values)
    return places[both], values[both]


def check_metric(metric: str, runs: Iterable[Run]) -> None:
    """
    Raises:
        UserError: no run has such a column.
    """
    names: set[str] = set(get_args(Metric))
    for run in runs:
        columns = run.log.columns
        own = {column.removesuffix(f"/{task}") for column in columns for task in run.tasks}
        names |= columns | own
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
        runs = [Run(folder) for folder in sorted(_folders(path)) if _is_run(folder)]
        if not runs:
            raise UserError(f"{path} contains no run: no folder with log.csv and params.json")
        found += [run for run in runs if run not in found]
    return found


def _folders(path: Path) -> set[Path]:
    """Every folder at or below the path, also through symbolic links."""
    found: set[Path] = set()
    for name, below, _ in os.walk(path, followlinks=True):
        folder = Path(name).resolve()
        if folder in found:  # links may form a circle
            below.clear()
        found.add(folder)
    return found


def _is_run(folder: Path) -> bool:
    return (folder / "log.csv").exists() and (folder / "params.json").exists()


def by_experiment(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Group runs by experiment; equal names in different folders get enough of the path to
    distinguish them."""
    places: dict[Path, list[Run]] = {}
    for run in runs:
        places.setdefault(run.experiment, []).append(run)
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
