"""Chooses what makes the runs of a sweep, a Ray cluster or processes of this machine."""

import signal
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

from torchrl_lite.analysis.runs import Run
from torchrl_lite.errors import UserError
from torchrl_lite.sweep.base import Runner
from torchrl_lite.sweep.cluster import Cluster
from torchrl_lite.sweep.processes import Processes
from torchrl_lite.sweep.progress import Line, Logged, Logs, State
from torchrl_lite.sweep.trial import Outcome, Trial
from torchrl_lite.training.signals import stopping

REFRESH_S = 2.0


class Signals:
    """Remembers signals: an exception raised inside Ray's code would be lost or garbled.

    ``again``: another signal came at least a second after the first, as in `SignalGuard`.
    """

    def __init__(self) -> None:
        self.seen: int | None = None
        self.again = False
        self._first = 0.0

    def __enter__(self) -> Self:
        self._old = {n: signal.signal(n, self._on_signal) for n in stopping()}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.seen is None:
            self.seen, self._first = number, now
        self.again = self.again or now - self._first >= 1


@contextmanager
def running(args: Namespace) -> Iterator[tuple[Runner, Signals]]:
    """Ray or processes, as the flags say, while signals are remembered.

    Raises:
        UserError: Ray is not installed, there is no cluster at the address, or this machine is
            too small for a run.
    """
    runner: Runner = Processes(args.jobs) if args.jobs else Cluster(args.address)
    try:
        lacking = runner.too_small_for(cpus=args.cpus, gpus=args.gpus)
        if lacking and args.address == "local":
            raise UserError(lacking)
        if lacking:  # a cluster may grow
            print(f"{lacking}; the runs wait for a larger one", flush=True)
        with Signals() as signals:
            yield runner, signals
    finally:
        runner.close()


def seen_here(trial: Trial, outcome: Outcome) -> Outcome:
    """The outcome, or a failure if the run's result is not visible on this machine."""
    if outcome.code or (trial.folder / "result.json").exists():
        return outcome
    try:
        if trial.until is not None and Run(trial.folder).has_reached(trial.until):
            return outcome
    except UserError as error:  # one damaged log must not end the others
        return Outcome(1, str(error))
    return Outcome(
        1,
        f"ended, but {trial.folder} has no result: did its environment end the process, or do "
        "not all nodes share --log_dir?",
    )


def line(trial: Trial, outcome: Outcome | None, runner: Runner, logs: Logs) -> Line:
    if outcome is not None:
        state: State = "failed" if outcome.code else "done"
        return Line(trial, state, None, logs.read(trial) if outcome.code else Logged())
    node = runner.node_of(trial.folder)
    if node is None:
        return Line(trial, "waiting", None, Logged())
    return Line(trial, "running", node, logs.read(trial))
