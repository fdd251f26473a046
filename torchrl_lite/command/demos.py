"""Records episodes of Meta-World's scripted experts as demonstrations."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torchrl_lite.config import EnvConfig


def parse(argv: Sequence[str] | None = None) -> Namespace:
    from torchrl_lite.command.flags import Parser, config_file, episodes, seed

    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--task", action="append", default=[], metavar="NAME", help="a v3 task (repeat for more)"
    )
    parser.add_argument(
        "--config",
        type=config_file,
        metavar="PATH|NAME",
        help="tasks, rewards, goals and time limit of this configuration",
    )
    parser.add_argument(
        "--episodes",
        type=episodes,
        default=50,
        metavar="N",
        help="of each task, at most one per goal (default 50)",
    )
    parser.add_argument(
        "--seed", type=seed, default=1, metavar="N", help="draws the goals, as in training"
    )
    parser.add_argument(
        "--format",
        choices=["safetensors", "minari"],
        default="safetensors",
        help="a file for train.demos (default), or a Minari dataset of each task",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="default demos/<task or set>.safetensors"
    )
    return parser.parse_args(argv)


def run(args: Namespace) -> int:
    from torchrl_lite.command.flags import check_file
    from torchrl_lite.demos import file, minari
    from torchrl_lite.demos.expert import record
    from torchrl_lite.errors import UserError
    from torchrl_lite.policies.file import SUFFIX
    from torchrl_lite.training.provenance import versions

    env = _env(args)
    path = args.out or Path("demos") / f"{env.set_name}{SUFFIX}"
    if args.format == "minari":
        if args.out is not None:
            raise UserError("--out: Minari keeps its datasets where MINARI_DATASETS_PATH says")
        minari.check_unused(env.tasks)
    else:
        check_file("--out", path)
        if path.exists():
            raise UserError(f"--out: {path} exists")
    demos = record(env, episodes=args.episodes, seed=args.seed, versions=versions())
    if args.episodes > max(len(one.returns) for one in demos.header.episodes):
        print(f"one episode for each of the {env.num_goals} goals: another one would be the same")
    print(*demos.lines(), sep="\n")
    if args.format == "minari":
        print(*minari.write(demos), sep="\n")
    else:
        file.write(path, demos)
        print(path)
    return 0


def _env(args: Namespace) -> "EnvConfig":
    from torchrl_lite.config import EnvConfig, Section, merge, read_tree, validate
    from torchrl_lite.env.metaworld import check_task
    from torchrl_lite.errors import UserError

    tasks = [check_task(name, "--task") for name in dict.fromkeys(args.task)]
    if not (tasks or args.config):
        raise UserError("--task: give a task, or a --config with tasks")

    class Recorded(Section):
        """All of a configuration that matters here."""

        env: EnvConfig

    own = read_tree(args.config) if args.config else {}
    tree = {"env": own["env"]} if "env" in own else {}
    if tasks:  # for which the number of environments need not fit
        one_each = {"tasks": tasks, "num_envs": len(tasks), "noise_spread": 1.0}
        tree = merge(tree, {"env": one_each})
    return validate(Recorded, tree, str(args.config or "--task")).env


def main() -> int:
    """Returns the exit code."""
    from torchrl_lite.command.start import command

    return command(
        parse, run, needs=["torchrl_lite.demos.expert", "torchrl_lite.training.provenance"]
    )
