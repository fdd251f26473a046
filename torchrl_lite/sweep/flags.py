"""The flags of a sweep. Nothing here imports torch."""

import math
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path

from torchrl_lite.command.flags import Parser, config_file, count, number, processors, until
from torchrl_lite.config.machine import cores
from torchrl_lite.errors import UserError

SEARCH = ("trials", "sampler", "pruner", "objective", "core_minutes")
"""Flags that belong to ``--search``."""


def _share(text: str) -> float:
    value = number(text)
    if not (0 <= value < 1 or (value >= 1 and value.is_integer())):
        raise ArgumentTypeError(f"{text!r} must be a fraction below 1 or a whole number")
    return value


def _minutes(text: str) -> float:
    value = number(text)
    if not 0 < value < math.inf:
        raise ArgumentTypeError(f"{text!r} is not a positive number of minutes")
    return value


def parse(argv: Sequence[str] | None = None) -> Namespace:
    """
    Raises:
        UserError: an unknown flag, or a value that it does not take.
    """
    parser = Parser(
        description="Many runs, on Ray or as processes; with --search, for the best setting.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--starter", nargs="+", metavar="NAME", help="st_sac, mt_td3, …; one is needed")
    add("--plan", type=config_file, metavar="PATH|NAME", help="methods to compare, instead")
    add("--config", type=config_file, metavar="PATH|NAME", help="as for the starters")
    add("--tasks", metavar="0-9|NAME,…", help="Meta-World tasks, one per run")
    add("--seeds", metavar="1-5", help="seeds (default 1)")
    add("--grid", action="append", default=[], metavar="a.b=[…]", help="values to try; repeatable")
    add("--set", action="append", default=[], metavar="a.b=value", help="for all runs; repeatable")
    add("--id", metavar="NAME", help="experiment name, as for the starters")
    add("--until", type=until, metavar="FRAMES|90min|1.5h", help="stop each run there")
    add("--log_dir", type=Path, default=Path("log"), metavar="DIR", help="log root (default log)")
    add("--address", metavar="auto|local|HOST:PORT", help="Ray cluster (default local)")
    add(
        "--jobs",
        type=processors,
        metavar="N",
        help="N runs at a time as processes of this machine, without Ray (default of --search and "
        "--plan: as many as have --cpus)",
    )
    add("--cpus", type=count, default=1, metavar="N", help="per run (default 1)")
    add("--gpus", type=_share, default=0.0, metavar="X", help="per run, such as 0.25 (default 0)")
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="results (default LOG_DIR/sweep; of a search, with its runs, LOG_DIR/search; of a "
        "plan, with its runs, LOG_DIR and its name)",
    )
    _add_search(parser)
    args = parser.parse_args(argv)
    _check_plan(args)
    _check_search(args)
    _choose_runner(args)
    return args


def _add_search(parser: Parser) -> None:
    group = parser.add_argument_group("a search for hyperparameters")
    add = group.add_argument
    add("--search", type=Path, metavar="SPACE.json", help="fields with values or ranges to try")
    add(
        "--trials", type=count, metavar="N", help="settings to try, those of earlier calls included"
    )
    add("--sampler", choices=("tpe", "random", "grid"), help="how they are chosen (default tpe)")
    add(
        "--pruner",
        choices=("median", "hyperband", "none"),
        help="stops poor trials early (default median)",
    )
    add("--objective", choices=("mean", "iqm"), help="over tasks and seeds (default mean)")
    add("--core_minutes", type=_minutes, metavar="M", help="per run, instead of its frames")


def _check_plan(args: Namespace) -> None:
    if args.plan is None:
        if args.starter is None:
            raise UserError("--starter: is missing; or give --plan, with methods to compare")
        return
    for name in ("starter", "config", "grid", "id", "search"):
        if getattr(args, name):
            raise UserError(f"--{name}: not with --plan, whose file says what runs")


def _check_search(args: Namespace) -> None:
    if args.search is None:
        if named := [name for name in SEARCH if getattr(args, name) is not None]:
            raise UserError(f"--{named[0]}: only with --search")
        return
    for name in ("grid", "id", "until"):
        if getattr(args, name):
            raise UserError(f"--{name}: not with --search")
    if len(args.starter) > 1:
        raise UserError(f"--starter: a search has one, not {len(args.starter)}")
    args.sampler = args.sampler or "tpe"
    args.pruner = args.pruner or "median"
    args.objective = args.objective or "mean"
    if args.trials is None and args.sampler != "grid":
        raise UserError("--trials: is missing; how many settings may the search try?")


def _choose_runner(args: Namespace) -> None:
    """Ray, or with ``args.jobs`` processes."""
    if args.jobs and args.address:
        raise UserError("--jobs: is without Ray; omit --address")
    if (args.search or args.plan) and not args.address and not args.jobs:
        args.jobs = max(1, cores() // args.cpus)
    args.address = args.address or "local"
