"""A comparison: methods, each a setting with a name, with the same budget, from a file."""

from argparse import ArgumentTypeError, Namespace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from torchrl_lite.command.flags import config_file, until
from torchrl_lite.config import Section, read_tree, validate
from torchrl_lite.errors import UserError


class Comparison(Section):
    """Named as the flags of a sweep, and in their form."""

    starter: str
    config: str
    set: dict[str, Any] = Field({})
    """Fields of all methods that do not set them themselves."""
    seeds: str = "1"
    until: str
    methods: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    """By name, which is also the experiment's: the fields that differ."""


def read(path: Path) -> Comparison:
    """
    Raises:
        UserError: the file is not a comparison.
    """
    return validate(Comparison, read_tree(path), str(path))


def fill_in(args: Namespace) -> None:
    """Add what ``args.plan`` says; ``--seeds`` and ``--until`` win over it.

    Raises:
        UserError: the file is not a comparison.
    """
    plan = read(args.plan)
    try:
        beside = args.plan.parent / plan.config  # as ``extends`` is found
        args.config = beside if beside.is_file() else config_file(plan.config)
        args.until = args.until or until(plan.until)
    except (ArgumentTypeError, OSError) as error:
        raise UserError(f"{args.plan}: {error}") from None
    args.starter = [plan.starter]
    args.methods = {name: plan.set | setting for name, setting in plan.methods.items()}
    args.seeds = plan.seeds if args.seeds is None else args.seeds
    args.out = args.out or args.log_dir / args.plan.stem
    args.log_dir = args.out  # its runs are in its folder
