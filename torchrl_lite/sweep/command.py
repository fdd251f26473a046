"""The command line of sweeps."""

import sys
from argparse import Namespace
from collections.abc import Sequence

from torchrl_lite.analysis.runs import Run
from torchrl_lite.command.flags import answer, check_folder
from torchrl_lite.config import check_address
from torchrl_lite.errors import UserError
from torchrl_lite.sweep import comparison, flags, plan, report
from torchrl_lite.sweep.base import Runner
from torchrl_lite.sweep.progress import Logs, make_view
from torchrl_lite.sweep.runner import REFRESH_S, Signals, line, running, seen_here
from torchrl_lite.sweep.task import CONSOLE
from torchrl_lite.sweep.trial import Outcome, Trial
from torchrl_lite.training.signals import Interrupted, SignalGuard


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
    args.methods = {}
    if args.plan:
        comparison.fill_in(args)
    try:
        check_address(args.address)
    except ValueError as error:
        raise UserError(f"--{error}") from None
    args.starter = [plan.check_starter(name) for name in args.starter]
    args.tasks = [] if args.tasks is None else plan.parse_tasks(args.tasks)
    args.seeds = plan.parse_seeds("1" if args.seeds is None else args.seeds)
    args.grid = [plan.parse_grid(text) for text in args.grid]
    args.out = args.out or args.log_dir / ("search" if args.search else "sweep")
    return args


def _run(args: Namespace) -> int:
    if args.search:
        from torchrl_lite.sweep.search.command import search  # needs Optuna

        return search(args)
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
        names = [trial.name for trial in failed]
        print(report.write(args.out, done, args.until, failed=names))
        print(args.out)
    return 1 if failed else 0


def _train(
    todo: Sequence[Trial], args: Namespace, *, done: Sequence[Trial]
) -> dict[Trial, Outcome]:
    with running(args) as (runner, signals):
        runner.submit(todo, cpus=args.cpus, gpus=args.gpus)
        return _watch(runner, [*done, *todo], done, signals)


def _watch(
    runner: Runner, trials: Sequence[Trial], done: Sequence[Trial], signals: Signals
) -> dict[Trial, Outcome]:
    view, logs = make_view(), Logs()
    outcomes = {trial: Outcome(0, "") for trial in done}
    try:
        while runner.busy and signals.seen is None:
            view.show([line(trial, outcomes.get(trial), runner, logs) for trial in trials])
            for trial, outcome in runner.finished(REFRESH_S):
                outcomes[trial] = seen_here(trial, outcome)
        view.show([line(trial, outcomes.get(trial), runner, logs) for trial in trials])
    finally:
        view.close()
    if signals.seen is not None:
        runner.stop(at_once=lambda: signals.again)
        raise Interrupted(signals.seen)
    return outcomes
