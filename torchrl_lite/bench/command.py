"""Speed on this machine, compared with other libraries."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path


def parse(argv: Sequence[str] | None = None) -> Namespace:
    from torchrl_lite.command.flags import Parser, count, processors, seed
    from torchrl_lite.config.machine import cores

    parser = Parser(description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("what", choices=["env", "collect", "ray", "update", "train", "solve"])
    add(
        "--task",
        action="append",
        default=[],
        help="env: default MT10; train, solve: default drawer-close-v3",
    )
    add("--rounds", type=count, default=5, help="rounds; all contenders take turns in each")
    add("--frames", type=count, help="frames per environment and round, or per training")
    add("--threads", type=processors, default=cores(), help="update, train: PyTorch threads")
    add("--workers", type=processors, default=cores(), help="collect, ray: number of workers")
    add("--device", default="cpu", help="update: cpu or cuda")
    add("--accel", default="eager", choices=["eager", "compile", "graph"], help="update: mode")
    add("--minutes", type=count, default=60, help="solve: maximum core minutes per training")
    add("--seed", type=seed, default=1, help="solve: seed")
    add("--out", type=Path, help="write the results to this JSON file")
    return parser.parse_args(argv)


def run(args: Namespace) -> int:
    from rich.console import Console

    from torchrl_lite.algo import accel
    from torchrl_lite.bench import collect, env, envpool, ray_workers, solve, train, update
    from torchrl_lite.bench.measure import hardware, write
    from torchrl_lite.command.flags import check_file
    from torchrl_lite.command.options import find_device
    from torchrl_lite.env.metaworld import MT10, check_task

    tasks = [check_task(task, "--task") for task in args.task]
    check_file("--out", args.out)
    device = find_device(args.device)
    accel.check(args.accel, device)
    measures = {
        "env": lambda: env.measure(tasks or MT10, frames=args.frames or 1500, rounds=args.rounds),
        "collect": lambda: [
            report
            for bench in (collect, envpool)
            for report in bench.measure(
                frames=args.frames or 300, rounds=args.rounds, workers=args.workers
            )
        ],
        "ray": lambda: ray_workers.measure(
            frames=args.frames or 500, rounds=args.rounds, workers=args.workers
        ),
        "update": lambda: update.measure(
            threads=args.threads, rounds=args.rounds, device=device, accel=args.accel
        ),
        "train": lambda: train.measure(
            (tasks or ["drawer-close-v3"])[0], frames=args.frames or 20_000, threads=args.threads
        ),
        "solve": lambda: solve.measure(
            tasks or ["drawer-close-v3"], minutes=args.minutes, seed=args.seed
        ),
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
