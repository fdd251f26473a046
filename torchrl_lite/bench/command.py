"""Speed on this machine, compared with other libraries."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def parse(argv: Sequence[str] | None = None) -> Namespace:
    from torchrl_lite.command.flags import Parser, count, processors, seed

    parser = Parser(description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("what", choices=["env", "collect", "ray", "update", "train", "solve"])
    add("--task", action="append", help="env: default MT10; train, solve: drawer-close-v3")
    add("--rounds", type=count, help="all but train, solve: rounds; all take turns in each")
    add("--frames", type=count, help="frames per environment and round; train: in all")
    add("--threads", type=processors, help="update, train: PyTorch threads")
    add("--workers", type=processors, help="collect, ray: number of workers")
    add("--device", help="update: cpu (default) or cuda")
    add("--accel", choices=["eager", "compile", "graph"], help="update: mode; default eager")
    add("--minutes", type=count, help="solve: maximum core minutes per training; default 60")
    add("--seed", type=seed, help="solve: default 1")
    add("--out", type=Path, help="write the results to this JSON file")
    return parser.parse_args(argv)


def _options(args: Namespace) -> dict[str, Any]:
    """The flags that apply to ``args.what``, with their defaults.

    Raises:
        UserError: another one is given, or train has several tasks.
    """
    from torchrl_lite.config.machine import cores
    from torchrl_lite.env.metaworld import MT10
    from torchrl_lite.errors import UserError

    defaults: dict[str, dict[str, Any]] = {
        "env": {"task": MT10, "frames": 1500, "rounds": 5},
        "collect": {"frames": 300, "rounds": 5, "workers": cores()},
        "ray": {"frames": 500, "rounds": 5, "workers": cores()},
        "update": {"threads": cores(), "rounds": 5, "device": "cpu", "accel": "eager"},
        "train": {"task": ["drawer-close-v3"], "frames": 20_000, "threads": cores()},
        "solve": {"task": ["drawer-close-v3"], "minutes": 60, "seed": 1},
    }
    own, given = defaults[args.what], vars(args).copy()
    for name in ("what", "out"):
        del given[name]
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if name not in own:
            flags = ", ".join(f"--{other}" for other in own)
            raise UserError(f"--{name}: not for {args.what}, which takes {flags} and --out")
    if args.what == "train" and len(given.get("task", ())) > 1:
        raise UserError("--task: train takes one")
    return own | given


def run(args: Namespace) -> int:
    from rich.console import Console

    from torchrl_lite.algo import accel
    from torchrl_lite.bench import collect, env, envpool, ray_workers, solve, train, update
    from torchrl_lite.bench.measure import hardware, write
    from torchrl_lite.command.flags import check_file
    from torchrl_lite.command.options import find_device
    from torchrl_lite.env.metaworld import check_task

    options = _options(args)
    tasks = [check_task(task, "--task") for task in options.pop("task", ())]
    check_file("--out", args.out)
    if args.what == "update":
        options["device"] = find_device(options["device"])
        accel.check(options["accel"], options["device"])
        accel.prepare(options["accel"])
    measures = {
        "env": lambda: env.measure(tasks, **options),
        "collect": lambda: [
            report for bench in (collect, envpool) for report in bench.measure(**options)
        ],
        "ray": lambda: ray_workers.measure(**options),
        "update": lambda: update.measure(**options),
        "train": lambda: train.measure(*tasks, **options),
        "solve": lambda: solve.measure(tasks, **options),
    }
    console = Console()
    console.print(hardware())
    reports = measures[args.what]()
    for report in reports:
        report.show(console)
    if args.out:
        write(args.out, reports)
    return 0


def main() -> int:
    """Returns the exit code."""
    from torchrl_lite.command.start import command

    return command(parse, run, needs=["torchrl_lite.bench.solve", "torchrl_lite.bench.update"])
