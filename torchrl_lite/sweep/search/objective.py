"""What a trial is worth: one number for all its runs, and how far its runs are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import asinh
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.stats import trim_mean

from torchrl_lite.analysis.axes import Axis, Metric
from torchrl_lite.analysis.runs import Run
from torchrl_lite.sweep.trial import Trial

STEPS = 27
"""Comparisons of a trial with others, at equal shares of the budget; 3^3, for hyperband."""
TIE = 1e-6
"""Weight of the return beside a success rate: below any difference of success rates."""
AVERAGES: dict[str, Callable[[Sequence[float]], Any]] = {
    "mean": np.mean,
    "iqm": lambda scores: trim_mean(scores, 0.25),
}


Scores = tuple[float | None, float | None]
"""Success and return of a task; None where there is no evaluation, or no success in it."""


class Score(NamedTuple):
    """Averages over tasks and seeds; ``success`` is None if the tasks do not report it."""

    success: float | None
    ret: float

    @property
    def value(self) -> float:
        """A number with the order of (success, return)."""
        if self.success is None:
            return self.ret
        return self.success + TIE * (0.5 + asinh(self.ret) / 72)  # asinh(1e15) < 36


@dataclass(frozen=True)
class Objective:
    """The average over tasks and seeds of what runs reach within their budget: their own frames,
    or ``core_minutes`` of each."""

    average: Literal["mean", "iqm"]
    core_minutes: float | None = None
    _known: dict[Path, tuple[tuple[int, bool], Run]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def _run(self, trial: Trial) -> Run:
        """What a run has logged, reread only if there is more."""
        folder, log = trial.folder, trial.folder / "log.csv"
        stamp = log.stat().st_size if log.exists() else 0, (folder / "result.json").exists()
        if folder not in self._known or self._known[folder][0] != stamp:
            self._known[folder] = stamp, Run(folder)
        return self._known[folder][1]

    @property
    def averages(self) -> str:
        """What a score is averaged over, in words."""
        over_seeds = {"mean": "the mean", "iqm": "the interquartile mean"}[self.average]
        return f"Over tasks: the mean. Over seeds: {over_seeds}."

    @property
    def _axis(self) -> Axis:
        return "frames" if self.core_minutes is None else "core_hours"

    def _budget(self, trial: Trial) -> float:
        return float(trial.total_frames) if self.core_minutes is None else self.core_minutes / 60

    def is_over(self, trial: Trial) -> bool:
        """Whether a run is finished, or has used its core minutes."""
        if (trial.folder / "result.json").exists():
            return True
        return self.core_minutes is not None and self.reached([trial]) == STEPS

    def reached(self, trials: Sequence[Trial]) -> int:
        """How many steps all the runs have made."""
        shares = [self._run(trial).position(self._axis) / self._budget(trial) for trial in trials]
        return min(STEPS, int(min(shares) * STEPS + 1e-9))

    def at(self, trials: Sequence[Trial], step: int) -> Score | None:
        """By the evaluations up to a step that all runs have made; None before the first one."""
        return self._score(trials, lambda trial: self._scores(trial, step / STEPS))

    def final(self, trials: Sequence[Trial]) -> Score | None:
        """By the final evaluations, or the last ones within the core minutes; None if some run
        has none."""
        return self._score(trials, self._final)

    def _final(self, trial: Trial) -> list[Scores]:
        run = self._run(trial)
        if run.result is None or run.position(self._axis) > self._budget(trial) * (1 + 1e-9):
            return self._scores(trial, 1.0)
        return [(run.final(task, "success"), run.final(task, "return")) for task in run.tasks]

    def _scores(self, trial: Trial, share: float) -> list[Scores]:
        """Success and return of each task."""
        run, end = self._run(trial), share * self._budget(trial) * (1 + 1e-9)

        def last(task: str, metric: Metric) -> float | None:
            x, y = run.curve(task, metric=metric, axis=self._axis)
            return float(y[x <= end][-1]) if (x <= end).any() else None

        return [(last(task, "success"), last(task, "return")) for task in run.tasks]

    def _score(
        self, trials: Sequence[Trial], scores: Callable[[Trial], list[Scores]]
    ) -> Score | None:
        """The mean over tasks, averaged over seeds."""
        seeds: dict[str, list[Scores]] = {}
        for trial in trials:
            seeds.setdefault(trial.folder.name, []).extend(scores(trial))
        success, returns = zip(
            *(zip(*of_seed, strict=True) for of_seed in seeds.values()), strict=True
        )
        if any(None in of_seed for of_seed in returns):
            return None
        average = AVERAGES[self.average]
        known = all(None not in of_seed for of_seed in success)
        return Score(
            float(average([np.mean(of_seed) for of_seed in success])) if known else None,
            float(average([np.mean(of_seed) for of_seed in returns])),
        )
