"""Evaluates and shows a policy."""

import json
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torchrl_lite.policies.evaluate import TaskSummary
    from torchrl_lite.policies.file import TaskEvaluation
    from torchrl_lite.policies.policy import Policy


def parse(argv: Sequence[str] | None = None) -> Namespace:
    from torchrl_lite.command.flags import Parser, episodes, goals, picture_size, processes, seed
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
    source.add_argument(
        "--pretrained",
        metavar="NAME",
        help="a policy in the folder pretrained, or hf://USER/NAME on the Hugging Face Hub",
    )
    parser.add_argument(
        "--episodes",
        type=episodes,
        metavar="N",
        help="per task, on Meta-World at most one per goal (default 10, or 1 on one goal)",
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
    parser.add_argument(
        "--goals",
        type=goals,
        default="train",
        metavar="train|held_out|N",
        help="Meta-World's goals: those trained on, those of ML1's test set, or goal number N",
    )
    view = parser.add_mutually_exclusive_group()
    view.add_argument("--render", choices=["human"], help="one episode per task in a window")
    view.add_argument(
        "--video",
        type=Path,
        metavar="FILE",
        help="film one episode per task, side by side: .mp4 or .gif",
    )
    parser.add_argument(
        "--camera", metavar="NAME", help="camera for --render or --video, such as corner2"
    )
    parser.add_argument(
        "--size",
        type=picture_size,
        metavar="N",
        help="of a task's square in the film, in pixels (default 480, of several tasks 240)",
    )
    parser.add_argument(
        "--trust_imports", action="store_true", help="import the packages that a run names"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table to FILE")
    parser.add_argument(
        "--export",
        type=Path,
        metavar="PATH",
        help="write a policy file and card; FILE.onnx: an ONNX model",
    )
    parser.add_argument(
        "--push_to_hub", metavar="USER/NAME", help="upload them to the Hugging Face Hub"
    )
    parser.add_argument(
        "--workers",
        type=processes,
        default=cores(),
        metavar="N",
        help="worker processes; 0: evaluate in this one",
    )
    return parser.parse_args(argv)


def run(args: Namespace) -> int:
    from torchrl_lite.policies import onnx
    from torchrl_lite.policies.evaluate import evaluate, goal_numbers, summary, tasks_of

    policy = _policy(args)
    tasks, numbers = tasks_of(policy, args.task), goal_numbers(policy, args.goals)
    seed = policy.seed if args.seed is None else args.seed
    _check_views(args, policy, tasks)
    episodes = args.episodes or (1 if isinstance(args.goals, int) else 10)
    workers = min(args.workers, -(-len(tasks) * episodes // policy.config.env.group_size))
    measured = partial(evaluate, policy, tasks, episodes=episodes, seed=seed, workers=workers)
    evaluation, rate = measured(goals=args.goals)
    summaries = [summary(one) for one in evaluation]
    _print(f"{policy.config.algo}, {policy.frames:,} frames, {rate:,.0f} frames/s", summaries)
    if args.json:
        figures = {"tasks": [one._asdict() for one in summaries], "frames_per_second": rate}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if args.export or args.push_to_hub:
        has_card = args.push_to_hub or args.export.suffix != onnx.SUFFIX
        has_others = has_card and policy.config.env.has_goals
        others = measured(goals="held_out")[0] if has_others else []
        _export(args, policy, evaluation, others)
    _show(args, policy, tasks, seed=seed, goal=numbers[0])
    return 0


def _policy(args: Namespace) -> "Policy":
    """The policy that the flags name; the flags that need no policy are checked before."""
    from torchrl_lite.checkpoint.store import weights_of
    from torchrl_lite.command.flags import check_file, check_folder
    from torchrl_lite.errors import UserError
    from torchrl_lite.policies import hub, shipped
    from torchrl_lite.policies.load import load_policy

    asked = "--export" if args.export else "--push_to_hub"
    chosen = args.task or args.seed is not None or args.goals != "train"
    if (args.export or args.push_to_hub) and chosen:
        raise UserError(f"{asked}: evaluates all tasks on the training goals and on others; leave "
                          "out --task, --seed and --goals")  # fmt: skip
    if args.camera and not (args.render or args.video):
        raise UserError("--camera: needs --video or --render")
    if args.size and not args.video:
        raise UserError("--size: needs --video")
    check_file("--json", args.json)
    check_file("--video", args.video)
    if args.export:
        check_folder("--export", args.export.parent)
    if args.pretrained is not None:
        is_on_hub = args.pretrained.startswith(hub.SCHEME)
        source = args.pretrained if is_on_hub else shipped.find(args.pretrained)
    else:
        source = args.run or args.checkpoint
    if args.run:
        weights_of(args.run)  # a name of a shipped policy is no run
    only = args.task[0] if len(args.task) == 1 else None
    return load_policy(source, task=only, trust_imports=args.trust_imports)


def _check_views(args: Namespace, policy: "Policy", tasks: Sequence[int]) -> None:
    """Before an evaluation, which may take long."""
    from torchrl_lite.policies import hub, onnx
    from torchrl_lite.policies.export import check_export
    from torchrl_lite.policies.film import check_renderer, check_window
    from torchrl_lite.reporting.film import check_film

    env = policy.config.env
    if args.export and args.export.suffix == onnx.SUFFIX:
        onnx.check_onnx(policy)
    elif args.export:
        check_export(policy)
    if args.push_to_hub:
        check_export(policy)
        hub.check_hub(args.push_to_hub, "--push_to_hub")
    if args.video:
        check_film(args.video)
        check_renderer(env, seed=policy.seed, tasks=tasks, camera=args.camera, source="--video")
    if args.render:
        check_window(env, seed=policy.seed, tasks=tasks, camera=args.camera)


def _export(
    args: Namespace,
    policy: "Policy",
    evaluation: Sequence["TaskEvaluation"],
    held_out: Sequence["TaskEvaluation"],
) -> None:
    from torchrl_lite.policies import onnx
    from torchrl_lite.policies.export import export, push

    if args.export and args.export.suffix == onnx.SUFFIX:
        onnx.write(args.export, policy)
        print(args.export)
    elif args.export:
        print(*export(args.export, policy, evaluation, held_out)[:2], sep="\n")
    if args.push_to_hub:
        print(push(args.push_to_hub, policy, evaluation, held_out))


def _print(title: str, summaries: Sequence["TaskSummary"]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for column in ("task", "episodes", "success", "95 %", "return", "length"):
        table.add_column(column, justify="left" if column == "task" else "right")
    for one in summaries:
        table.add_row(*one.cells, f"{one.length:.0f}")
    Console().print(table)


def _show(args: Namespace, policy: "Policy", tasks: Sequence[int], *, seed: int, goal: int) -> None:
    """The first episode of each task, in a window or as a film."""
    from torchrl_lite.policies.film import Replay, record, watch
    from torchrl_lite.reporting.film import SIZE, TILE, tiled, write_film

    env = policy.config.env
    replays = [Replay(env, policy.actor, task, seed, goal) for task in tasks]
    for replay in replays if args.render else ():
        if not watch(replay, camera=args.camera):
            break
    if args.video:
        size = args.size or (SIZE if len(tasks) == 1 else TILE)
        films = [record(replay, camera=args.camera, size=size) for replay in replays]
        write_film(args.video, tiled(films))
        print(args.video)


def main() -> int:
    """Returns the exit code."""
    from torchrl_lite.command.start import command

    return command(parse, run, needs=["torchrl_lite.policies.export"])
