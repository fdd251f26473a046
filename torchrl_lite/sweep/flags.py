"""The flags of a sweep. Nothing here imports torch."""

import math
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path

from torchrl_lite.command.flags import Parser, config_file, count


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (0 <= value < 1 or (value >= 1 and value.is_integer())):
        raise ArgumentTypeError(f"{text!r} must be a fraction below 1 or a whole number")
    return value


def parse(argv: Sequence[str] | None = None) -> Namespace:
    """
    Raises:
        UserError: an unknown flag, or a value that it does not take.
    """
    parser = Parser(description="Many runs on Ray.", allow_abbrev=False)
    add = parser.add_argument
    add("--starter", nargs="+", required=True, metavar="NAME", help="st_sac, mt_td3, …")
    add("--config", type=config_file, metavar="PATH|NAME", help="as for the starters")
    add("--tasks", metavar="0-9|NAME,…", help="Meta-World tasks, one per run")
    add("--seeds", default="1", metavar="1-5", help="seeds (default 1)")
    add("--grid", action="append", default=[], metavar="a.b=[…]", help="values to try; repeatable")
    add("--set", action="append", default=[], metavar="a.b=value", help="for all runs; repeatable")
    add("--id", metavar="NAME", help="experiment name, as for the starters")
    add("--log_dir", type=Path, default=Path("log"), metavar="DIR", help="log root (default log)")
    add(
        "--address",
        default="local",
        metavar="auto|local|HOST:PORT",
        help="Ray cluster (default local)",
    )
    add("--cpus", type=count, default=1, metavar="N", help="per run (default 1)")
    add("--gpus", type=_share, default=0.0, metavar="X", help="per run, such as 0.25 (default 0)")
    add("--out", type=Path, metavar="DIR", help="table and curves (default LOG_DIR/sweep)")
    return parser.parse_args(argv)
