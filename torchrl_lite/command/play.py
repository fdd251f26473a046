"""Evaluates and shows a policy."""

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torchrl_lite.policies.evaluate import TaskSummary
    from torchrl_lite.policies.policy import Policy


def parse(argv: Sequence[str] | None = None) -> Namespace:
    from torchrl_lite.command.flags import Parser, episodes, processors, seed
    from torchrl_lite.config.machine import cores

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
    parser.add_argument(
        "--workers", type=processors, default=cores(), metavar="N", help="worker processes"
    )
    return parser.parse_args(argv)


def run(args: Namespace) -> int:
    from torchrl_lite.policies.evaluate import evaluate, summary, tasks_of
    from torchrl_lite.policies.export import export

    policy = _policy(args)
    tasks = tasks_of(policy, args.task)
    seed = policy.seed if args.seed is None else args.seed
    _check_views(args, policy, tasks)
    workers = min(args.workers, -(-len(tasks) * args.episodes // policy.config.env.group_size))
    evaluation, rate = evaluate(policy, tasks, episodes=args.episodes, seed=seed, workers=workers)
    summaries = [summary(one) for one in evaluation]
    _print(f"{policy.config.algo}, {policy.frames:,} frames, {rate:,.0f} frames/s", summaries)
    if args.json:
        figures = {"tasks": [one._asdict() for one in summaries], "frames_per_second": rate}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if args.export:
        print(*export(args.export, policy, evaluation), sep="\n")
    _show(args, policy, tasks, seed=seed)
    return 0


def _policy(args: Namespace) -> "Policy":
    """The policy that the flags name; the flags that need no policy are checked before."""
    from torchrl_lite.command.flags import check_file, check_folder
    from torchrl_lite.errors import UserError
    from torchrl_lite.policies import shipped
    from torchrl_lite.policies.load import load_policy, weights_of

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
        source = shipped.find(args.pretrained)
    else:
        source = weights_of(args.run) if args.run else args.checkpoint
    only = args.task[0] if len(args.task) == 1 else None
    return load_policy(source, task=only, trust_imports=args.trust_imports)


def _check_views(args: Namespace, policy: "Policy", tasks: Sequence[int]) -> None:
    """Before an evaluation, which may take long."""
    from torchrl_lite.policies.export import check_export
    from torchrl_lite.policies.film import check_renderer, check_window
    from torchrl_lite.reporting.film import check_film

    env = policy.config.env
    if args.export:
        check_export(policy)
    if args.video:
        check_film(args.video)
        check_renderer(env, seed=policy.seed, tasks=tasks, camera=args.camera, source="--video")
    if args.render:
        check_window(env, seed=policy.seed, tasks=tasks, camera=args.camera)


def _print(title: str, summaries: Sequence["TaskSummary"]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for column in ("task", "episodes", "success", "95 %", "return", "length"):
        table.add_column(column, justify="left" if column == "task" else "right")
    for one in summaries:
        told = one.success is not None
        success = f"{one.success:.2f}" if told else ""
        interval = f"{one.low:.2f} to {one.high:.2f}" if told else ""
        cells = (success, interval, f"{one.ret:.1f}", f"{one.length:.0f}")
        table.add_row(one.task, str(one.episodes), *cells)
    Console().print(table)


def _show(args: Namespace, policy: "Policy", tasks: Sequence[int], *, seed: int) -> None:
    """The first episode of each task, in a window or as a film."""
    from torchrl_lite.policies.film import record, watch
    from torchrl_lite.reporting.film import write_film

    env = policy.config.env
    for task in tasks if args.render else ():
        if not watch(env, policy.actor, task, seed=seed, camera=args.camera):
            break
    for task in tasks if args.video else ():
        path = args.video
        if len(tasks) > 1:
            path = path.with_stem(f"{path.stem}_{policy.tasks[task]}")
        write_film(path, record(env, policy.actor, task, seed=seed, camera=args.camera))
        print(path)


def main() -> int:
    """Returns the exit code."""
    from torchrl_lite.command.start import command

    return command(parse, run, needs=["torchrl_lite.policies.export"])
