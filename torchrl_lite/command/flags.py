"""Command lines: helpers for all starters, and the flags of the training starters."""

import argparse
import errno
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from torchrl_lite.analysis.axes import Until
from torchrl_lite.config import MAX_AT_ONCE, MAX_NAME, MAX_SEED, nearest
from torchrl_lite.config.shipped import find_config
from torchrl_lite.errors import RunError, UserError
from torchrl_lite.training.signals import Interrupted

UNITS = {"min": 1 / 60, "h": 1.0}
"""Of core time, in hours."""


def answer(run: Callable[[], int]) -> int:
    """Calls ``run`` and returns a starter's exit code.

    That is the return value of ``run``; the ``exit_code`` of a `RunError` or `UserError`, of which
    only the message is printed; 1 after an `OSError`, 2 if the user named a file with too long a
    name; 130 or 143 after a signal.
    """
    try:
        return run()
    except (RunError, UserError) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if error.errno == errno.ENAMETOOLONG else 1
    except Interrupted as interrupted:
        print(f"stopped by {interrupted}", file=sys.stderr)
        return 128 + interrupted.signum
    except KeyboardInterrupt:
        print("stopped by SIGINT", file=sys.stderr)
        return 130


def check_folder(flag: str, folder: Path) -> None:
    """Checks, before any work, that results can be written to ``folder``.

    Raises:
        UserError: they cannot.
    """
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not place.is_dir():
        raise UserError(f"{flag}: {folder} cannot be written: {place} is not a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"{flag}: {folder} cannot be written: no permission for {place}")


def check_file(flag: str, path: Path | None) -> None:
    """The same for a file; None passes."""
    if path is None:
        return
    if path.is_dir():
        raise UserError(f"{flag}: {path} is a folder; name a file")
    check_folder(flag, path.parent)


class Parser(argparse.ArgumentParser):
    """Raises a one-line `UserError` instead of printing the usage."""

    def error(self, message: str) -> NoReturn:
        flags = [flag for action in self._actions for flag in action.option_strings]
        unknown = re.search(r"unrecognized arguments: (--?[\w-]+)", message)
        hint = nearest(unknown.group(1), flags) if unknown else ""
        raise UserError(f"{message}{hint or '; see --help'}")


def count(text: str, most: int = 10**9) -> int:
    """A flag's value, an integer from 1 to ``most``."""
    if not (text.isdecimal() and 1 <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer from 1 to {most}")
    return int(text)


def episodes(text: str) -> int:
    """A number of episodes, limited as in a configuration."""
    return count(text, MAX_AT_ONCE)


def processes(text: str) -> int:
    """A number of worker processes; with 0, the main process does their work."""
    return 0 if text == "0" else count(text, 2**10)


def picture_size(text: str) -> int:
    """The side of a film's pictures, in pixels; encoders need multiples of 16."""
    if not (text.isdecimal() and 64 <= int(text) <= 2048 and int(text) % 16 == 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a multiple of 16 from 64 to 2048")
    return int(text)


def processors(text: str) -> int:
    """A number of threads or processes."""
    return count(text, 2**10)


def seed(text: str) -> int:
    if not text.isdecimal() or int(text) > MAX_SEED:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer from 0 to {MAX_SEED}")
    return int(text)


def goals(text: str) -> str | int:
    """Which goals to play on."""
    return int(text) if text.isdecimal() and len(text) < 4 else text


def number(text: str) -> float:
    """nan if it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def until(text: str) -> Until:
    """Frames, such as ``1e6``, or core time, such as ``90min`` or ``1.5h``."""
    unit = next((unit for unit in UNITS if text.endswith(unit)), "")
    value = number(text.removesuffix(unit))
    if unit and 0 < value < math.inf:
        return Until("core_hours", value * UNITS[unit])
    if not unit and value >= 1 and value.is_integer():
        return Until("frames", int(value))
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a positive number of frames, nor a core time such as 90min or 1.5h"
    )


def _stage(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a stage index (0 or greater)")
    return int(text)


def _name(text: str) -> str:
    if len(text) > MAX_NAME:
        raise argparse.ArgumentTypeError(f"{len(text)} characters; at most {MAX_NAME} are allowed")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} names a folder: it may contain only letters, digits and _ . + -, and must "
            "start with a letter or digit"
        )
    return text


def _label(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def config_file(text: str) -> Path:
    """A path, or the name of a shipped configuration."""
    try:
        return find_config(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse(algo: str, argv: Sequence[str], *, multi_task: bool | None) -> argparse.Namespace:
    """Parses a training starter's flags, for one task, many, or (``multi_task`` None) either.

    Raises:
        UserError: an unknown flag or an invalid value.
    """
    kinds = {None: "one task or many", True: "many tasks with one policy", False: "one task"}
    kind = kinds[multi_task]
    parser = Parser(description=f"Train {algo.upper()} on {kind}.", allow_abbrev=False)
    add = parser.add_argument
    add(
        "--config",
        type=config_file,
        metavar="PATH|NAME",
        help="a .json or .yaml configuration, or a shipped one by name, such as mt10",
    )
    if not multi_task:
        add("--task_id", metavar="I", help="index of a Meta-World task in MT10, 0 to 9")
        add("--task", metavar="NAME", help="one of the 50 Meta-World v3 tasks")
    add("--seed", type=seed, default=1, metavar="N", help="default 1")
    add(
        "--id", type=_name, metavar="NAME", help="experiment: top-level folder in the log directory"
    )
    add("--log_dir", type=Path, default=Path("log"), metavar="DIR", help="default log")
    add("--device", default="auto", metavar="auto|cpu|cuda[:i]", help="default auto")
    add("--set", action="append", default=[], metavar="a.b=value", help="set a field; repeatable")
    add(
        "--until",
        type=until,
        metavar="FRAMES|90min|1.5h",
        help="stop after the epoch that reaches these frames, or this core time of all processes",
    )
    if multi_task is not False:
        add("--stage", type=_stage, metavar="K", help="curriculum stage to start at, from 0")
    add("--resume", action="store_true", help="continue from the last checkpoint")
    add("--init_from", type=Path, metavar="PATH", help="initial weights: run, checkpoint or file")
    add("--track", action="store_true", help="also log to Weights & Biases")
    add("--run_name", type=_label, metavar="NAME", help="name of the run there")
    add("--trust_imports", action="store_true", help="trust a stored run's imports and cluster")
    add("--help_config", action="store_true", help="list every configuration field")
    return parser.parse_args(argv)
