"""``sweep.py --search``: checks everything, searches, and reports."""

from argparse import Namespace
from typing import Any

from torchrl_lite.checkpoint.lock import locked
from torchrl_lite.command.flags import check_folder
from torchrl_lite.command.flags import parse as parse_training
from torchrl_lite.command.options import request
from torchrl_lite.config import Config, read_tree
from torchrl_lite.sweep import plan
from torchrl_lite.sweep.plan import Setting
from torchrl_lite.sweep.progress import make_view
from torchrl_lite.sweep.runner import running
from torchrl_lite.sweep.search import report
from torchrl_lite.sweep.search.driver import Driver, name_of
from torchrl_lite.sweep.search.objective import Objective
from torchrl_lite.sweep.search.space import check_space, combinations, read_space, suggest
from torchrl_lite.sweep.search.study import Study, package
from torchrl_lite.training.signals import Interrupted


def search(args: Namespace) -> int:
    """Returns the exit code: 0, or 1 if a trial failed or none is complete.

    Raises:
        UserError: a mistake in the flags or the space.
        BusyError: another process searches in the folder.
        Interrupted: a signal ended the search.
    """
    package()
    args.log_dir = args.out  # its runs are in its folder
    space = read_space(args.search)
    plan.check_keys(list(space), args, flag="--search")
    check_space(space, _config(args, {}, "any"), args.search)
    grid = combinations(space, args.search) if args.sampler == "grid" else None
    if grid is not None:
        args.trials = min(args.trials or len(grid), len(grid))
    check_folder("--out", args.out)
    args.out.mkdir(parents=True, exist_ok=True)
    with locked(args.out):
        study = Study(
            args.out, asked=_asked(args), sampler=args.sampler, pruner=args.pruner, grid=grid
        )
        objective = Objective(args.objective, args.core_minutes)
        view = make_view()
        with running(args) as (runner, signals):
            driver = Driver(
                args, space=space, study=study, objective=objective, runner=runner, view=view
            )
            try:
                driver.run(signals)
            finally:
                view.close()
            if signals.seen is not None:
                runner.stop(at_once=lambda: signals.again)

        def config_of(trial: Any) -> Config:
            setting = suggest(space, trial, plan.algo_of(args.starter[0]))
            return _config(args, setting, name_of(trial.number))

        print(report.write(args.out, study, config_of, objective.averages))
        complete = any(trial.state.name == "COMPLETE" for trial in study.trials)
    if signals.seen is not None:
        raise Interrupted(signals.seen)
    return 1 if driver.failed or not complete else 0


def _config(args: Namespace, setting: Setting, name: str) -> Config:
    """The configuration of the first run of a setting; all runs are checked."""
    (starter,) = args.starter
    first, *_ = plan.distinct(plan.runs(args, starter, setting, name=name))
    algo, multi_task = plan.algo_of(starter), starter.startswith("mt_")
    own = parse_training(algo, first.argv, multi_task=multi_task)
    return request(own, algo, multi_task=multi_task).config


def _asked(args: Namespace) -> dict[str, Any]:
    """What makes it the same search when it is continued."""
    same = ("starter", "tasks", "seeds", "set", "sampler", "objective", "core_minutes")
    config = None if args.config is None else read_tree(args.config)
    return {name: getattr(args, name) for name in same} | {
        "config": config,
        "search": read_tree(args.search),
    }
