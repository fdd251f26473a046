"""From a command line to a finished run: everything that a starter does."""

import json
import os
import platform
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from torchrl_lite import __version__, accel, checkpoint, curriculum, flags, tracking
from torchrl_lite.algo import ALGORITHMS, SECTIONS
from torchrl_lite.algo.learner import Learner
from torchrl_lite.algo.rl_algo import RLAlgo
from torchrl_lite.checkpoint import BusyError, CheckpointError, Saved, Store
from torchrl_lite.collector import (
    Collector,
    Crew,
    NotFiniteError,
    Processes,
    WorkerError,
    check_renderer,
)
from torchrl_lite.config import Config, ConfigError, SystemConfig, model, reference
from torchrl_lite.console import View, make_view
from torchrl_lite.env import make_spec
from torchrl_lite.logger import Logger, Sink, columns
from torchrl_lite.replay_buffer import ReplayBuffer
from torchrl_lite.request import experiment, find_device, flat, requested, resolve, resumed
from torchrl_lite.signals import Interrupted, SignalGuard
from torchrl_lite.tracking import Tracker
from torchrl_lite.transfer import Start, start_from


def main(algo: str, argv: Sequence[str] | None = None, *, multi_task: bool = False) -> int:
    """Runs a starter and returns its exit code: 0 done, 2 a user's mistake, 130 / 143 stopped by
    a signal, 1 anything else."""
    try:
        return flags.answer(
            lambda: _run(algo, sys.argv[1:] if argv is None else argv, multi_task=multi_task),
            # A worker's message carries its traceback; the others need none.
            told=(CheckpointError, NotFiniteError, WorkerError),
        )
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        cause = str(error).partition("\n")[0] or "out of memory"
        print(
            f"error: {cause}\nlower replay_buffer.size, train.batch_size or net.hidden_shapes "
            "(or the sizes in net.soft_module; the replay buffer is on the learner's device)",
            file=sys.stderr,
        )
        return 1
    except Interrupted as interrupted:
        print(
            f"stopped by {interrupted}; --resume goes on from the last checkpoint", file=sys.stderr
        )
        return 128 + interrupted.signum


def _is_out_of_memory(error: Exception) -> bool:
    """On the CPU, torch has no class for it."""
    on_cpu = "DefaultCPUAllocator: can't allocate memory" in str(error)
    return on_cpu or isinstance(error, torch.OutOfMemoryError | MemoryError)


def _run(algo: str, argv: Sequence[str], *, multi_task: bool) -> int:
    args = flags.parse(algo, argv, multi_task=multi_task)
    if args.help_config:
        _print_reference(algo)
        return 0
    config = requested(args, algo, multi_task=multi_task)
    folder = args.log_dir / experiment(args, algo) / config.env.set_name / str(args.seed)
    device = find_device(args.device)

    stored = folder / "params.json"
    resuming = args.resume and stored.exists()
    if _is_used(folder) and not args.resume:
        raise ConfigError(f"{folder} exists; go on with --resume, or choose another --id or --seed")
    if resuming:
        config = resolve(resumed(args, config, stored, algo))
        if epochs_of_result(folder / "result.json") >= config.total_epochs:
            print(f"{folder} is finished; train.num_epochs can make it longer")
            return 0
    else:
        config = resolve(config)
    make_spec(config.env)  # names and spaces of tasks, before anything is built
    accel.check(config.system.accel, device)
    if config.log.video:
        check_renderer(config.env, seed=args.seed)
    if args.track:
        tracking.check()
    elif args.run_name is not None:
        raise ConfigError("--run_name: names a run on Weights & Biases, so it needs --track")
    return _train(config, args, folder, device, resuming=resuming)


def _train(
    config: Config, args: Namespace, folder: Path, device: torch.device, *, resuming: bool
) -> int:
    with ExitStack() as stack:
        guard = stack.enter_context(SignalGuard(config.system.grace_seconds))
        crew = _crew(config.system, stack)
        learner = _make_learner(config, device, args.seed)
        buffer = _make_buffer(config, learner)
        start = Start([], [])
        if not resuming:  # before anything is written
            start = start_from(learner, buffer, config.transfer)
        _lock(folder, stack, resume=args.resume, resuming=resuming)
        store = Store(folder / "checkpoint", keep=config.train.keep_checkpoints)
        saved, damaged = store.newest() if resuming else (None, [])
        done = _frames_of(saved, device) if saved else 0
        if resuming and saved is None:
            start = start_from(learner, buffer, config.transfer)
        _write_header(config, folder, device, args.seed)
        view = make_view(
            config.log.console,
            title=f"{config.algo} {config.env.set_name} seed {args.seed}",
            tasks=config.env.tasks,
            total_frames=config.total_frames,
            done_frames=done,
        )
        stack.callback(view.close)
        view.say(f"{folder} on {_describe(device)}")
        if args.resume:
            where = f"going on from frame {done}" if saved else "no checkpoint yet: from frame 0"
            view.say(where)
        for note in [*start.notes, *(f"warning: passed over {line}" for line in damaged)]:
            view.say(note)
        run = _build(
            config,
            folder,
            learner,
            buffer,
            args.seed,
            stack,
            guard=guard,
            crew=crew,
            view=view,
            store=store,
            done=done,
            origin=start.origin,
            sinks=_trackers(config, args, folder, view),
        )
        if saved:
            run.resume(saved)
        del saved  # a second copy of networks and moments
        for name in ("result.json", "policy.safetensors"):  # they will be others
            (folder / name).unlink(missing_ok=True)
        finished = run.train(args.until)
        if not finished:
            view.say(f"stopped at frame {run.total_frames} with a checkpoint; go on with --resume")
        return 0 if guard.requested is None or finished else 128 + guard.requested


def _crew(system: SystemConfig, stack: ExitStack) -> Crew:
    """Where workers come from, until ``stack`` is left."""
    if system.workers != "ray":
        return Processes()
    from torchrl_lite.collector.ray_worker import RayCrew

    return stack.enter_context(RayCrew(system.ray))


def _make_learner(config: Config, device: torch.device, seed: int) -> Learner:
    accel.keep_freed_memory()
    torch.set_num_threads(int(config.system.threads))
    torch.set_float32_matmul_precision(config.system.matmul_precision)
    torch.manual_seed(seed)  # the initial weights; everything else has generators of its own
    spec, learner_class = make_spec(config.env), ALGORITHMS[config.algo][0]
    return learner_class(
        config.agent, config.net, spec, device=device, seed=seed, accel=config.system.accel
    )


def _make_buffer(config: Config, learner: Learner) -> ReplayBuffer:
    stages = config.curriculum
    old_weight = stages.old_weight if stages else 1.0
    return ReplayBuffer(
        learner.spec,
        config.capacity,
        learner.device,
        copies=config.env.copies,
        old_weight=old_weight,
    )


def _build(
    config: Config,
    folder: Path,
    learner: Learner,
    buffer: ReplayBuffer,
    seed: int,
    stack: ExitStack,
    *,
    guard: SignalGuard,
    crew: Crew,
    view: View,
    store: Store,
    done: int,
    origin: Sequence[dict[str, Any]],
    sinks: Sequence[Sink],
) -> RLAlgo:
    spec = learner.spec
    collector = Collector(
        config.env,
        spec,
        learner.actor,
        epoch_frames=config.train.epoch_frames,
        seed=seed,
        workers=config.system.num_workers,
        crew=crew,
        env_timeout_s=config.system.env_timeout_s,
        say=view.say,
    )
    stack.callback(collector.close)
    more = curriculum.columns(spec.tasks) if config.curriculum else []
    header = columns(spec.tasks, learner.metric_names, more)
    logger = Logger(folder, header, view, keep_until=done, sinks=sinks)
    stack.callback(logger.close)
    logger.describe(flat(config.model_dump(mode="json", exclude={"log"})) | {"seed": seed})
    return RLAlgo(
        config,
        learner=learner,
        collector=collector,
        buffer=buffer,
        logger=logger,
        view=view,
        guard=guard,
        store=store,
        folder=folder,
        seed=seed,
        versions=_versions(),
        origin=origin,
    )


def _trackers(config: Config, args: Namespace, folder: Path, view: View) -> list[Sink]:
    """Weights & Biases, where it is asked for."""
    if not args.track:
        return []
    name = args.run_name or "/".join(folder.parts[-3:])
    values = config.model_dump(mode="json") | {"seed": args.seed}
    project = config.log.wandb_project
    return [Tracker(folder, project=project, name=name, values=values, say=view.say)]


def _lock(folder: Path, stack: ExitStack, *, resume: bool, resuming: bool) -> None:
    """Holds the run directory until the end, and looks again whether it is what it was."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stack.enter_context(checkpoint.locked(folder))
    except BusyError as error:
        raise ConfigError(f"{error}; wait for its end, or choose another --id or --seed") from None
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be used ({error.strerror})") from None
    begun = (folder / "params.json").exists() if resume else _is_used(folder)
    if begun and not resuming:  # by a process that has ended since
        raise ConfigError(f"{folder} exists; go on with --resume, or choose another --id or --seed")
    checkpoint.remove_temporaries(folder)


def _frames_of(saved: Saved, device: torch.device) -> int:
    try:
        done, trained_on = sum(saved.state["frames"]), saved.state["learner"]["device"]
    except (KeyError, TypeError):
        raise CheckpointError(f"{saved.path}: not a checkpoint of a run") from None
    if trained_on != device.type:
        raise ConfigError(f"--device: the run is on {trained_on}, not on {device.type}")
    return done


def epochs_of_result(path: Path) -> int:
    """How far a finished run came; -1 without a readable result."""
    try:
        return int(json.loads(path.read_text())["epochs"])
    except (OSError, ValueError, KeyError, TypeError):
        return -1


def _is_used(folder: Path) -> bool:
    try:
        return folder.exists() and any(folder.iterdir())
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be used ({error.strerror})") from None


def _write_header(config: Config, folder: Path, device: torch.device, seed: int) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        params = config.model_dump_json(indent=2)
        checkpoint.write_text(folder / "params.json", params + "\n")
        machine = {"platform": platform.platform(), "device": _describe(device)}
        text = json.dumps({**_versions(), **machine, "seed": seed}, indent=2)
        checkpoint.write_text(folder / "versions.json", text + "\n")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror})") from None


def _versions() -> dict[str, str]:
    packages = ("torch", "numpy", "gymnasium", "metaworld", "mujoco")
    return {
        "python": platform.python_version(),
        "torchrl_lite": __version__,
        **{name: version(name) for name in packages},
    }


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({len(os.sched_getaffinity(0))} cores)"


def _print_reference(algo: str) -> None:
    for key, kind, default, meaning in reference(model(algo, SECTIONS)):
        print(f"{key} = {default}\n    {meaning} ({kind})")
