"""How fast it is here, beside what else there is: ``python starter/bench.py env``."""

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console


def main() -> int:
    from torchrl_lite.bench import collect, env, train, update
    from torchrl_lite.bench.measure import hardware, write
    from torchrl_lite.env.metaworld import MT10, check_task

    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["env", "collect", "update", "train"])
    parser.add_argument("--task", action="append", help="env: MT10 by default; train: drawer-close")
    parser.add_argument("--rounds", type=int, default=5, help="rounds in which all take a turn")
    parser.add_argument(
        "--frames", type=int, help="of each environment in a round, or of a training"
    )
    parser.add_argument(
        "--threads", type=int, default=cores, help="update, train: PyTorch's threads"
    )
    parser.add_argument("--workers", type=int, default=cores, help="collect: processes")
    parser.add_argument("--device", default="cpu", help="update: cpu or cuda")
    parser.add_argument("--accel", default="eager", choices=["eager", "compile", "graph"])
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    args = parser.parse_args()
    tasks = [check_task(task) for task in args.task or []]
    measures = {
        "env": lambda: env.measure(tasks or MT10, frames=args.frames or 1500, rounds=args.rounds),
        "collect": lambda: collect.measure(
            frames=args.frames or 300, rounds=args.rounds, workers=args.workers
        ),
        "update": lambda: update.measure(
            threads=args.threads, rounds=args.rounds, device=args.device, accel=args.accel
        ),
        "train": lambda: train.measure(
            (tasks or ["drawer-close-v3"])[0], frames=args.frames or 20_000, threads=args.threads
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


if __name__ == "__main__":  # workers import this file too, and need nothing of it
    sys.exit(main())
