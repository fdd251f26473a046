"""The loop of a search: asks for settings, makes their runs, tells what they are worth."""

import sys
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torchrl_lite.checkpoint.traces import NOT_FINITE
from torchrl_lite.errors import UserError
from torchrl_lite.sweep import plan
from torchrl_lite.sweep.base import Runner
from torchrl_lite.sweep.progress import Logs, View
from torchrl_lite.sweep.runner import REFRESH_S, Signals, line, seen_here
from torchrl_lite.sweep.search.objective import STEPS, Objective
from torchrl_lite.sweep.search.space import Space, suggest
from torchrl_lite.sweep.search.study import Study
from torchrl_lite.sweep.task import CONSOLE
from torchrl_lite.sweep.trial import Outcome, Trial


def name_of(number: int) -> str:
    """Of a trial: the folder of its runs."""
    return f"trial_{number:04d}"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclass
class _Active:
    """A trial whose runs are not all over."""

    trial: Any
    runs: list[Trial]
    left: list[Trial] = field(default_factory=list)

    @property
    def name(self) -> str:
        return name_of(self.trial.number)


class Driver:
    def __init__(
        self,
        args: Namespace,
        *,
        space: Space,
        study: Study,
        objective: Objective,
        runner: Runner,
        view: View,
    ) -> None:
        self._args, self._space, self._study = args, space, study
        self._objective, self._runner, self._view = objective, runner, view
        self._active: dict[int, _Active] = {}
        self._stopped: set[Path] = set()
        """Run directories of runs that were cancelled."""
        self._logs = Logs()
        self.failed = 0
        """Trials with a run that failed; the next call tries them again."""

    def run(self, signals: Signals) -> None:
        """Make all trials; returns early after a signal."""
        for trial in self._study.unfinished():
            self._start(trial)
        while signals.seen is None:
            while self._has_room() and len(self._study.trials) < self._args.trials:
                self._start(self._study.ask())
            if not self._runner.busy:  # stopped runs have ended too
                return
            runs = [run for active in self._active.values() for run in active.left]
            self._view.show([line(run, None, self._runner, self._logs) for run in runs])
            for run, outcome in self._runner.finished(REFRESH_S):
                self._ended(run, outcome)
            for active in list(self._active.values()):
                self._look_at(active)

    def _has_room(self) -> bool:
        runs = sum(len(active.left) for active in self._active.values())
        slots = self._runner.slots(cpus=self._args.cpus, gpus=self._args.gpus)
        return runs < max(1, slots)

    def _start(self, trial: Any) -> None:
        setting = suggest(self._space, trial, plan.algo_of(self._args.starter[0]))
        name = name_of(trial.number)
        try:
            runs = list(plan.runs(self._args, self._args.starter[0], setting, name=name))
        except UserError as error:
            if (self._args.out / name).exists():  # the setting was allowed when its runs began
                raise
            # each value is allowed, but not together
            self._study.discard(trial, str(error))
            print(f"{name}: left out: {error}", file=sys.stderr, flush=True)
            return
        if same := self._study.score_of_same(trial):
            number, score = same
            self._study.tell(trial, score)
            print(f"{name}: the setting of {name_of(number)} again", flush=True)
            return
        left = [run for run in runs if not self._objective.is_over(run)]
        active = self._active[trial.number] = _Active(trial, runs, left)
        self._runner.submit(left, cpus=self._args.cpus, gpus=self._args.gpus)
        values = ", ".join(f"{key}={_shown(value)}" for key, value in setting.items())
        print(f"{name}: {values}", flush=True)
        self._look_at(active)

    def _ended(self, run: Trial, outcome: Outcome) -> None:
        if run.folder in self._stopped:
            return
        (active,) = (active for active in self._active.values() if run in active.runs)
        code, error = seen_here(run, outcome)
        if not code:
            active.left.remove(run)
            return
        log = run.folder / CONSOLE
        see = f"; see {log}" if log.exists() else ""
        print(f"{run.name} failed ({code}): {error}{see}", file=sys.stderr, flush=True)
        if (run.folder / NOT_FINITE).exists():
            self._study.close(active.trial)
        else:
            self.failed += 1
        self._drop(active)

    def _look_at(self, active: _Active) -> None:
        """Report a trial's evaluations, and end it if it is complete or hopeless."""
        for run in [run for run in active.left if self._objective.is_over(run)]:
            if not (run.folder / "result.json").exists():  # its core minutes are used up
                self._stop(run)
                active.left.remove(run)
        self._report(active)
        if not active.left:
            self._complete(active)
        elif self._study.last_step(active.trial) < STEPS and active.trial.should_prune():
            self._prune(active)

    def _report(self, active: _Active) -> None:
        first = self._study.last_step(active.trial) + 1
        for step in range(first, self._objective.reached(active.runs) + 1):
            if score := self._objective.at(active.runs, step):
                active.trial.report(score.value, step)

    def _prune(self, active: _Active) -> None:
        step = self._study.last_step(active.trial)
        score = self._objective.at(active.runs, step)
        assert score is not None, "it was reported"
        self._study.tell(active.trial, score, pruned=True)  # before its runs: the decision lasts
        self._drop(active)
        print(f"{active.name}: stopped after {step / STEPS:.0%} of its budget", flush=True)

    def _complete(self, active: _Active) -> None:
        score = self._objective.final(active.runs)
        if score is None:
            reason = "no evaluation within the budget; see train.eval_interval"
            self._study.discard(active.trial, reason)
            print(f"{active.name}: {reason}", file=sys.stderr, flush=True)
        else:
            self._study.tell(active.trial, score)
            success = "" if score.success is None else f"success {score.success:.3f}, "
            print(f"{active.name}: {success}return {score.ret:.1f}", flush=True)
        self._drop(active)

    def _drop(self, active: _Active) -> None:
        for run in active.left:
            self._stop(run)
        del self._active[active.trial.number]

    def _stop(self, run: Trial) -> None:
        self._stopped.add(run.folder)
        self._runner.cancel(run)
