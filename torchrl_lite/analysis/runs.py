"""Run directories, read as curves and final results."""

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from torchrl_lite.errors import UserError
from torchrl_lite.reporting.logger import read_rows

Metric = Literal["success", "return"]
Axis = Literal["frames", "updates", "hours", "core_hours"]


class Place(NamedTuple):
    """How to compute the position of a log row on an axis."""

    column: str
    adds_up: bool
    """Whether the column has seconds per epoch, which must be summed."""


AXES: dict[Axis, Place] = {
    "frames": Place("total_frames", adds_up=False),
    "updates": Place("updates", adds_up=False),
    "hours": Place("time/total_s", adds_up=True),
    "core_hours": Place("time/cpu_s", adds_up=True),
}


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
    def config(self) -> dict[str, Any]:
        with self._reading("params.json") as path:
            config = json.loads(path.read_text(encoding="utf-8"))
            if not all(isinstance(task, str) for task in config["env"]["tasks"]):
                raise TypeError
            return config

    @property
    def tasks(self) -> list[str]:
        return self.config["env"]["tasks"]

    @cached_property
    def result(self) -> dict[str, Any] | None:
        """``result.json``; None if the run has not ended."""
        if not (self.path / "result.json").exists():
            return None
        with self._reading("result.json") as path:
            result = json.loads(path.read_text(encoding="utf-8"))
            return result | {"frames": int(result["frames"])}

    def final(self, task: str, metric: Metric) -> float | None:
        """A task's final evaluation; None if there is none."""
        return (self.result or {}).get(f"eval_{metric}/{task}")

    @cached_property
    def _rows(self) -> list[dict[str, float]]:
        """The measured values of each epoch."""
        with self._reading("log.csv") as path:
            return [
                {name: float(cell) for name, cell in row.items() if cell} for row in read_rows(path)
            ]

    @contextmanager
    def _reading(self, name: str) -> Iterator[Path]:
        try:
            yield self.path / name
        except (ValueError, LookupError, TypeError, RecursionError, csv.Error):
            raise UserError(
                f"{self.path / name}: damaged, or not written by torchrl_lite"
            ) from None

    def curve(
        self, task: str, *, metric: Metric, axis: Axis
    ) -> tuple[Float[ndarray, " N"], Float[ndarray, " N"]]:
        """Evaluations of a task: positions on the axis and values; empty if there are none."""
        column, place, points = f"eval_{metric}/{task}", 0.0, []
        position, adds_up = AXES[axis]
        for row in self._rows:
            if position not in row:  # an older version did not log it
                continue
            place = place + row[position] / 3600 if adds_up else row[position]
            if column in row:
                points.append((place, row[column]))
        array = np.array(points, dtype=float).reshape(-1, 2)
        return array[:, 0], array[:, 1]

    def own_curve(self, task: str) -> tuple[Float[ndarray, " N"], Float[ndarray, " N"]]:
        """Success of a task over its own training frames, which count only while it is trained."""
        success, frames = f"eval_success/{task}", f"frames/{task}"
        points = [(row[frames], row[success]) for row in self._rows if {frames, success} <= {*row}]
        array = np.array(points, dtype=float).reshape(-1, 2)
        return array[:, 0], array[:, 1]


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
