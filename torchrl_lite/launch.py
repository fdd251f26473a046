"""From a command line to a finished run: everything that a starter does."""

import json
import os
import platform
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from torchrl_lite import __version__, checkpoint, flags
from torchrl_lite.algo import ALGORITHMS
from torchrl_lite.algo.rl_algo import RLAlgo
from torchrl_lite.checkpoint import CheckpointError
from torchrl_lite.collector import Collector, WorkerError
from torchrl_lite.config import (
    Config,
    ConfigError,
    Sections,
    check,
    load,
    merge,
    model,
    nest,
    parse_override,
    read_tree,
    reference,
)
from torchrl_lite.console import make_view
from torchrl_lite.env import make_spec, metaworld
from torchrl_lite.logger import Logger, columns
from torchrl_lite.replay_buffer import ReplayBuffer
from torchrl_lite.signals import Interrupted, SignalGuard

CONFIGS = Path(__file__).parent.parent / "config"
SECTIONS: Sections = {name: section for name, (_, section) in ALGORITHMS.items()}
RESUMABLE = (
    "train.num_epochs",
    "train.eval_interval",
    "train.save_interval",
    "system.workers",
    "log.",
)
"""What may be changed when a run goes on."""
RESOLVED = {"system.workers", "system.accel", "system.threads", "env.reward_normalization"}
"""Fields whose ``auto`` depends on the machine or on other fields: a run stores what it chose."""


def main(algo: str, argv: Sequence[str] | None = None, *, multi_task: bool = False) -> int:
    """Runs a starter and returns its exit code: 0 done, 2 a user's mistake, 130 / 143 stopped by
    a signal, 1 anything else."""
    try:
        return _run(algo, sys.argv[1:] if argv is None else argv, multi_task=multi_task)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (CheckpointError, WorkerError) as error:  # a worker's message carries its traceback
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        print(f"stopped by {interrupted}", file=sys.stderr)
        return 128 + interrupted.signum


def _run(algo: str, argv: Sequence[str], *, multi_task: bool) -> int:
    args = flags.parse(algo, argv, multi_task=multi_task)
    if args.help_config:
        _print_reference(algo)
        return 0
    config = _requested(args, algo, multi_task=multi_task)
    folder = args.log_dir / _experiment(args, algo) / config.env.set_name / str(args.seed)
    make_spec(config.env)  # names of tasks, before anything is built
    device = _device(args.device)

    stored = folder / "params.json"
    resuming = args.resume and stored.exists()
    if _is_used(folder) and not args.resume:
        raise ConfigError(f"{folder} exists; go on with --resume, or choose another --id or --seed")
    if resuming:
        config = _resumed(args, config, stored, algo)
        result = folder / "result.json"
        if result.exists() and json.loads(result.read_text())["frames"] >= _final_frames(config):
            print(f"{folder} is finished; train.num_epochs can make it longer")
            return 0
        result.unlink(missing_ok=True)
    else:
        config = _resolve(config)
    if config.system.accel == "graph" and device.type == "cpu":
        raise ConfigError("system.accel: a CUDA graph needs a CUDA device")
    return _train(config, args, folder, device, resuming=resuming)


def _train(config: Config, args: Any, folder: Path, device: torch.device, *, resuming: bool) -> int:
    with ExitStack() as stack:
        guard = stack.enter_context(SignalGuard(config.system.grace_seconds))
        _write_header(config, folder, device, args.seed)
        last = folder / "checkpoint" / "last.pt"
        state = checkpoint.load(last) if resuming and last.exists() else None
        done = sum(state["frames"]) if state else 0
        view = make_view(
            config.log.console,
            title=f"{config.algo} {config.env.set_name} seed {args.seed}",
            tasks=config.env.tasks,
            total_frames=_final_frames(config),
            done_frames=done,
        )
        stack.callback(view.close)
        view.say(f"{folder} on {_describe(device)}")
        if args.resume:
            where = f"going on from frame {done}" if state else "no checkpoint yet: from frame 0"
            view.say(where)
        run = _build(config, folder, device, args.seed, stack, guard=guard, view=view, done=done)
        if state:
            run.load_state_dict(state)
        finished = run.train(args.until)
        if not finished:
            view.say(f"stopped at frame {run.total_frames} with a checkpoint; go on with --resume")
        return 0 if guard.requested is None or finished else 128 + guard.requested


def _build(
    config: Config,
    folder: Path,
    device: torch.device,
    seed: int,
    stack: ExitStack,
    *,
    guard: SignalGuard,
    view: Any,
    done: int,
) -> RLAlgo:
    torch.set_num_threads(int(config.system.threads))
    torch.set_float32_matmul_precision(config.system.matmul_precision)
    torch.manual_seed(seed)  # the initial weights; everything else has generators of its own
    spec = make_spec(config.env)
    learner_class = ALGORITHMS[config.algo][0]
    learner = learner_class(
        config.agent, config.net, spec, device=device, seed=seed, accel=config.system.accel
    )
    collector = Collector(
        config.env,
        spec,
        learner.actor,
        epoch_frames=config.train.epoch_frames,
        seed=seed,
        workers=int(config.system.workers),
    )
    stack.callback(collector.close)
    header = columns(spec.tasks, learner.metric_names)
    logger = Logger(folder, header, view, keep_until=done)
    stack.callback(logger.close)
    return RLAlgo(
        config,
        learner=learner,
        collector=collector,
        buffer=ReplayBuffer(spec, config.capacity, device),
        logger=logger,
        view=view,
        guard=guard,
        folder=folder,
    )


# --- what is asked for ---------------------------------------------------------------------------


def _requested(args: Any, algo: str, *, multi_task: bool) -> Config:
    overrides = list(args.set)
    if multi_task:
        if args.config is None:
            raise ConfigError("--config: a multi-task starter needs one, e.g. config/mt10.json")
        return load(args.config, overrides, sections=SECTIONS, algo=algo)
    task = _task(args)
    if task is not None:
        overrides.insert(0, f"env.tasks={json.dumps([task])}")
    path = args.config or _default_config(task)
    if not _names_a_task(path, overrides):
        raise ConfigError(
            f"env.tasks: no task; give --task_id with one of {metaworld.ten()}, or --task NAME"
        )
    config = load(path, overrides, sections=SECTIONS, algo=algo)
    if config.num_tasks > 1:
        raise ConfigError(
            f"env.tasks: {config.num_tasks} tasks; this starter trains one, mt_{algo}.py many"
        )
    return config


def _names_a_task(path: Path, overrides: Sequence[str]) -> bool:
    tree = read_tree(path)
    for override in overrides:
        tree = merge(tree, nest(*parse_override(override)))
    env = tree.get("env", {})
    return not isinstance(env, dict) or "tasks" in env


def _task(args: Any) -> str | None:
    if args.task is not None and args.task_id is not None:
        raise ConfigError("--task and --task_id: give one of them")
    if args.task_id is not None:
        if args.task_id not in [str(index) for index in range(len(metaworld.MT10))]:
            raise ConfigError(f"--task_id: {args.task_id!r} is not one of {metaworld.ten()}")
        return metaworld.MT10[int(args.task_id)]
    return None if args.task is None else metaworld.check_task(args.task, "--task")


def _default_config(task: str | None) -> Path:
    own = CONFIGS / "mt10_tasks" / f"{task}.json"
    return own if own.exists() else CONFIGS / "base_st.json"


def _experiment(args: Any, algo: str) -> str:
    if args.id is not None:
        return args.id
    behind = "" if algo == "sac" else f"_{algo}"
    if args.config is None:
        return f"MT10_Individual_Tasks{behind}"
    return args.config.stem + ("" if "algo" in read_tree(args.config) else behind)


def _device(name: str) -> torch.device:
    there = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if name == "auto":
        return torch.device("cuda:0" if len(there) > 1 else "cpu")
    full = "cuda:0" if name == "cuda" else name
    if full not in there:
        raise ConfigError(f"--device: {name!r} is not there; there is {', '.join(there)}")
    return torch.device(full)


def _resolve(config: Config) -> Config:
    """Every ``auto`` that depends on the machine or on other fields becomes what it stands for."""
    cores = len(os.sched_getaffinity(0))
    groups = -(-config.env.num_envs // config.env.group_size)
    workers = config.system.workers
    if workers == "auto":
        workers = min(cores, groups) if groups > 1 or config.system.overlap else 0
    auto: dict[str, Any] = {
        "system.workers": workers,
        "system.accel": "eager",
        "system.threads": cores,
        "env.reward_normalization": "ema" if config.env.reward_version == "v1" else None,
    }
    assert auto.keys() == RESOLVED
    tree = config.model_dump()
    for key, value in auto.items():
        path = key.split(".")
        if tree[path[0]][path[1]] == "auto":
            tree = merge(tree, nest(path, value))
    return check(tree, algo=config.algo, sections=SECTIONS, source="configuration")


def _resumed(args: Any, requested: Config, stored: Path, algo: str) -> Config:
    """The stored configuration with the changes that a run may meet.

    Raises:
        ConfigError: another change, by its key.
    """
    own = load(stored, sections=SECTIONS, algo=algo)
    if args.config is not None:
        new = _flat(requested.model_dump())
    else:
        tree = own.model_dump()
        for override in args.set:
            tree = merge(tree, nest(*parse_override(override)))
        new = _flat(check(tree, algo=algo, sections=SECTIONS, source="--set").model_dump())
    tree = own.model_dump()
    for key, value in _flat(own.model_dump()).items():
        if new[key] == value or (new[key] == "auto" and key in RESOLVED):
            continue
        if not key.startswith(RESUMABLE):
            raise ConfigError(
                f"{key}: the run in {stored.parent} has {json.dumps(value)}; "
                f"with --resume only {', '.join(RESUMABLE)}* may change"
            )
        tree = merge(tree, nest(key.split("."), new[key]))
    return check(tree, algo=algo, sections=SECTIONS, source="--resume")


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _final_frames(config: Config) -> int:
    return config.total_epochs * config.frames_per_epoch


def _is_used(folder: Path) -> bool:
    try:
        return folder.exists() and any(folder.iterdir())
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be used ({error.strerror})") from None


# --- what is written down ------------------------------------------------------------------------


def _write_header(config: Config, folder: Path, device: torch.device, seed: int) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        params = config.model_dump_json(indent=2)
        checkpoint.write_text(folder / "params.json", params + "\n")
        text = json.dumps(_versions(device) | {"seed": seed}, indent=2)
        checkpoint.write_text(folder / "versions.json", text + "\n")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror})") from None


def _versions(device: torch.device) -> dict[str, str]:
    packages = ("torch", "numpy", "gymnasium", "metaworld", "mujoco")
    return {
        "python": platform.python_version(),
        "torchrl_lite": __version__,
        **{name: version(name) for name in packages},
        "platform": platform.platform(),
        "device": _describe(device),
    }


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({len(os.sched_getaffinity(0))} cores)"


def _print_reference(algo: str) -> None:
    for key, kind, default, meaning in reference(model(algo, SECTIONS)):
        print(f"{key} = {default}\n    {meaning} ({kind})")
