"""Run directories, read back as curves and final results."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from torchrl_lite.config import ConfigError

Metric = Literal["success", "return"]
Axis = Literal["frames", "hours"]


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
        return json.loads((self.path / "params.json").read_text(encoding="utf-8"))

    @property
    def tasks(self) -> list[str]:
        return self.config["env"]["tasks"]

    @cached_property
    def result(self) -> dict[str, Any] | None:
        """``result.json``; None where the run has not ended."""
        path = self.path / "result.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    @cached_property
    def _rows(self) -> list[dict[str, str]]:
        with (self.path / "log.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def curve(
        self, task: str, *, metric: Metric, axis: Axis
    ) -> tuple[Float[ndarray, " N"], Float[ndarray, " N"]]:
        """Evaluations of a task: where on the axis, and their values; empty without any."""
        column, spent, points = f"eval_{metric}/{task}", 0.0, []
        for row in self._rows:
            spent += float(row["time/total_s"] or 0) / 3600
            if row.get(column):
                at = float(row["total_frames"]) if axis == "frames" else spent
                points.append((at, float(row[column])))
        array = np.array(points, dtype=float).reshape(-1, 2)
        return array[:, 0], array[:, 1]


def find_runs(paths: Iterable[Path]) -> list[Run]:
    """Every run at or below the paths, in the order of their names.

    Raises:
        ConfigError: a path does not exist, or holds no run.
    """
    found: list[Run] = []
    for path in paths:
        if not path.exists():
            raise ConfigError(f"{path} does not exist")
        logs = sorted(log.parent.resolve() for log in path.rglob("log.csv"))
        runs = [Run(folder) for folder in logs if (folder / "params.json").exists()]
        if not runs:
            raise ConfigError(f"{path} holds no run: no folder with log.csv and params.json")
        found += [run for run in runs if run not in found]
    return found


def by_experiment(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs of the same experiment together; the same name in two places is told apart by path."""
    places: dict[Path, list[Run]] = {}
    for run in runs:
        places.setdefault(run.path.parents[1], []).append(run)
    names = [place.name for place in places]
    return {
        (place.name if names.count(place.name) == 1 else str(place)): group
        for place, group in places.items()
    }


def tasks_of(runs: Iterable[Run]) -> list[str]:
    """All tasks, each once, in the order in which they appear."""
    return list(dict.fromkeys(task for run in runs for task in run.tasks))
