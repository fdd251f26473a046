"""Evaluates and shows a policy: ``python starter/play.py --run DIR --video play.mp4``."""

import json
import os
import sys
from argparse import Namespace
from pathlib import Path


def parse() -> Namespace:
    from torchrl_lite.command.flags import Parser, episodes, processors, seed

    parser = Parser(description=__doc__, allow_abbrev=False)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, metavar="DIR", help="a run directory: its best weights")
    source.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="a checkpoint, a policy.safetensors, or a Stable-Baselines3 zip (with --task)",
    )
    source.add_argument("--pretrained", metavar="NAME", help="a policy in the folder pretrained")
    parser.add_argument(
        "--episodes", type=episodes, default=10, metavar="N", help="episodes per task (default 10)"
    )
    parser.add_argument(
        "--task",
        action="append",
        default=[],
        metavar="NAME",
        help="play only this task (repeatable); for a zip, its environment",
    )
    parser.add_argument(
        "--seed", type=seed, metavar="N", help="seed of the goals; default: the training seed"
    )
    view = parser.add_mutually_exclusive_group()
    view.add_argument("--render", choices=["human"], help="one episode per task in a window")
    view.add_argument(
        "--video", type=Path, metavar="FILE", help="film one episode per task: .mp4 or .gif"
    )
    parser.add_argument(
        "--camera", metavar="NAME", help="camera for --render or --video, such as corner2"
    )
    parser.add_argument(
        "--trust_imports", action="store_true", help="import the packages that a run names"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table to FILE")
    parser.add_argument("--export", type=Path, metavar="PATH", help="write a policy file and card")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument(
        "--workers", type=processors, default=cores, metavar="N", help="worker processes"
    )
    return parser.parse_args()


def run(args: Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from torchrl_lite.command.flags import check_file, check_folder
    from torchrl_lite.errors import UserError
    from torchrl_lite.policies import play
    from torchrl_lite.policies import shipped as pretrained

    if args.export and (args.task or args.seed is not None):
        raise UserError("--export: evaluates all tasks on the training goals; leave out "
                          "--task and --seed")  # fmt: skip
    if args.camera and not (args.render or args.video):
        raise UserError("--camera: needs --video or --render")
    check_file("--json", args.json)
    check_file("--video", args.video)
    if args.export:
        check_folder("--export", args.export.parent)
    if args.pretrained is not None:
        path = pretrained.find(args.pretrained)
    else:
        path = play.weights_of(args.run) if args.run else args.checkpoint
    only = args.task[0] if len(args.task) == 1 else None
    policy = play.load_policy(path, task=only, trust_imports=args.trust_imports)
    tasks = play.tasks_of(policy, args.task)
    seed = policy.seed if args.seed is None else args.seed
    if args.export:
        pretrained.check_export(policy)
    if args.video:
        play.check_video(args.video, policy, tasks, camera=args.camera)
    if args.render:
        play.check_window(policy, tasks, camera=args.camera)
    workers = min(args.workers, -(-len(tasks) * args.episodes // policy.config.env.group_size))
    evaluation, rate = play.evaluate(
        policy, tasks, episodes=args.episodes, seed=seed, workers=workers
    )
    summaries = [play.summary(one) for one in evaluation]
    table = Table(title=f"{policy.config.algo}, {policy.frames:,} frames, {rate:,.0f} frames/s")
    for column in ("task", "episodes", "success", "95 %", "return", "length"):
        table.add_column(column, justify="left" if column == "task" else "right")
    for one in summaries:
        told = one.success is not None
        success = f"{one.success:.2f}" if told else ""
        interval = f"{one.low:.2f} to {one.high:.2f}" if told else ""
        cells = (success, interval, f"{one.ret:.1f}", f"{one.length:.0f}")
        table.add_row(one.task, str(one.episodes), *cells)
    Console().print(table)
    if args.json:
        figures = {"tasks": [one._asdict() for one in summaries], "frames_per_second": rate}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if args.export:
        print(*pretrained.export(args.export, policy, evaluation), sep="\n")
    for task in tasks if args.render else ():
        if not play.show(policy, task, seed=seed, camera=args.camera):
            break
    for task in tasks if args.video else ():
        name = policy.config.env.tasks[task]
        own = args.video if len(tasks) == 1 else args.video.with_stem(f"{args.video.stem}_{name}")
        play.film(own, policy, task, seed=seed, camera=args.camera)
        print(own)
    return 0


if __name__ == "__main__":  # workers import this file too, but must not run it
    from torchrl_lite.command.start import command

    sys.exit(command(parse, run, needs=["torchrl_lite.policies.shipped"]))
