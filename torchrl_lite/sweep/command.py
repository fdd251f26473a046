"""The command line of sweeps."""

import signal
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from types import FrameType
from typing import Self

from torchrl_lite.analysis.runs import Run
from torchrl_lite.command.flags import answer, check_folder
from torchrl_lite.config import check_address
from torchrl_lite.errors import UserError
from torchrl_lite.sweep import flags, plan, report
from torchrl_lite.sweep.cluster import Cluster
from torchrl_lite.sweep.progress import Line, Logged, Logs, State, make_view
from torchrl_lite.sweep.task import CONSOLE
from torchrl_lite.sweep.trial import Outcome, Trial
from torchrl_lite.training.signals import Interrupted, SignalGuard

REFRESH_S = 2.0


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 all runs finished, 1 some failed, 2 user error, 130 / 143 stopped by
    a signal."""
    return answer(lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    try:
        with SignalGuard(grace=0.0):
            return _run(parse(argv))
    except Interrupted as interrupted:
        print(f"stopped by {interrupted}; the same command continues", file=sys.stderr)
        return 128 + interrupted.signum


def parse(argv: Sequence[str] | None) -> Namespace:
    """
    Raises:
        UserError: a flag, or what it names, is wrong.
    """
    args = flags.parse(argv)
    try:
        check_address(args.address)
    except ValueError as error:
        raise UserError(f"--{error}") from None
    args.starter = [plan.check_starter(name) for name in args.starter]
    args.tasks = [] if args.tasks is None else plan.parse_tasks(args.tasks)
    args.seeds = plan.parse_seeds(args.seeds)
    args.grid = [plan.parse_grid(text) for text in args.grid]
    args.out = args.out or args.log_dir / "sweep"
    return args


def _run(args: Namespace) -> int:
    trials = plan.plan(args)
    for flag, folder in (("--log_dir", args.log_dir), ("--out", args.out)):
        check_folder(flag, folder)
    outcomes = {trial: Outcome(0, "") for trial in trials if trial.finished}
    todo = [trial for trial in trials if not trial.finished]
    print(f"{len(trials)} runs, {len(outcomes)} already finished", flush=True)
    if todo:
        outcomes |= _train(todo, args, done=list(outcomes))
    failed = {trial: outcome for trial, outcome in outcomes.items() if outcome.code}
    done = [Run(trial.folder.resolve()) for trial in trials if trial not in failed]
    for trial, outcome in failed.items():
        log = trial.folder / CONSOLE
        see = f"; see {log}" if log.exists() else ""
        print(f"{trial.name} failed ({outcome.code}): {outcome.error}{see}", file=sys.stderr)
    if done:
        print(report.write(args.out, done))
        print(args.out)
    return 1 if failed else 0


def _train(
    todo: Sequence[Trial], args: Namespace, *, done: Sequence[Trial]
) -> dict[Trial, Outcome]:
    cluster = Cluster(args.address)
    try:
        lacking = cluster.too_small_for(cpus=args.cpus, gpus=args.gpus)
        if lacking and args.address == "local":
            raise UserError(lacking)
        if lacking:  # a cluster may grow
            print(f"{lacking}; the runs wait for a larger one", flush=True)
        with _Signals() as signals:
            cluster.submit(todo, cpus=args.cpus, gpus=args.gpus)
            return _watch(cluster, [*done, *todo], done, signals)
    finally:
        cluster.close()


def _watch(
    cluster: Cluster, trials: Sequence[Trial], done: Sequence[Trial], signals: "_Signals"
) -> dict[Trial, Outcome]:
    view, logs = make_view(), Logs()
    outcomes = {trial: Outcome(0, "") for trial in done}
    try:
        while cluster.busy and signals.seen is None:
            view.show([_line(trial, outcomes.get(trial), cluster, logs) for trial in trials])
            for trial, outcome in cluster.finished(REFRESH_S):
                outcomes[trial] = _seen_here(trial, outcome)
        view.show([_line(trial, outcomes.get(trial), cluster, logs) for trial in trials])
    finally:
        view.close()
    if signals.seen is not None:
        cluster.stop(at_once=lambda: signals.again)
        raise Interrupted(signals.seen)
    return outcomes


class _Signals:
    """Remembers signals: an exception raised inside Ray's code would be lost or garbled.

    ``again``: another signal came at least a second after the first, as in `SignalGuard`.
    """

    def __init__(self) -> None:
        self.seen: int | None = None
        self.again = False
        self._first = 0.0

    def __enter__(self) -> Self:
        self._old = {n: signal.signal(n, self._on_signal) for n in SignalGuard.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.seen is None:
            self.seen, self._first = number, now
        self.again = self.again or now - self._first >= 1


def _seen_here(trial: Trial, outcome: Outcome) -> Outcome:
    """The outcome, or a failure if the run's result is not visible on this machine."""
    if outcome.code or (trial.folder / "result.json").exists():
        return outcome
    return Outcome(1, f"ended, but {trial.folder} has no result: do all nodes share --log_dir?")


def _line(trial: Trial, outcome: Outcome | None, cluster: Cluster, logs: Logs) -> Line:
    if outcome is not None:
        state: State = "failed" if outcome.code else "done"
        return Line(trial, state, None, logs.read(trial.folder))
    node = cluster.node_of(trial.folder)
    if node is None:
        return Line(trial, "waiting", None, Logged())
    return Line(trial, "running", node, logs.read(trial.folder))
