"""From a command line to a finished run."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from torchrl_lite.algo import accel
from torchrl_lite.algo.learner import Learner
from torchrl_lite.algo.malloc import keep_freed_memory
from torchrl_lite.algo.registry import ALGORITHMS, SECTIONS
from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.checkpoint.records import read_result
from torchrl_lite.collector.collector import Collector
from torchrl_lite.collector.protocol import WorkerPool
from torchrl_lite.collector.worker import ProcessPool
from torchrl_lite.command import flags
from torchrl_lite.command.folder import check_unused
from torchrl_lite.command.options import find_device, request, resolve
from torchrl_lite.command.report import telling
from torchrl_lite.config import Config, SystemConfig, model, reference
from torchrl_lite.env.make import make_spec
from torchrl_lite.errors import UserError
from torchrl_lite.policies.film import check_renderer
from torchrl_lite.reporting import wandb
from torchrl_lite.training.rl_algo import RLAlgo
from torchrl_lite.training.run import Run
from torchrl_lite.training.signals import Interrupted, SignalGuard
from torchrl_lite.transfer.start import start_from


def main(algo: str, argv: Sequence[str] | None = None, *, multi_task: bool = False) -> int:
    """Runs a starter and returns its exit code: 0 done, 2 a user error, 130 or 143 stopped by a
    signal, 1 anything else."""
    try:
        return flags.answer(
            lambda: _main(algo, sys.argv[1:] if argv is None else argv, multi_task=multi_task)
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


def _is_out_of_memory(error: Exception) -> bool:
    """torch has no exception class for it on the CPU."""
    on_cpu = "DefaultCPUAllocator: can't allocate memory" in str(error)
    return on_cpu or isinstance(error, torch.OutOfMemoryError | MemoryError)


def _main(algo: str, argv: Sequence[str], *, multi_task: bool) -> int:
    args = flags.parse(algo, argv, multi_task=multi_task)
    if args.help_config:
        for key, kind, default, meaning in reference(model(algo, SECTIONS)):
            print(f"{key} = {default}\n    {meaning} ({kind})")
        return 0
    asked, folder, resuming = request(args, algo, multi_task=multi_task)
    try:
        with telling(folder):
            return _run(asked, args, folder, resuming=resuming)
    except Interrupted as interrupted:
        print(
            f"stopped by {interrupted}; --resume continues from the last checkpoint",
            file=sys.stderr,
        )
        return 128 + interrupted.signum


def _run(asked: Config, args: Namespace, folder: Path, *, resuming: bool) -> int:
    """Checks everything that can be checked before building anything, then trains."""
    config, device = resolve(asked), find_device(args.device)
    if resuming and epochs_of_result(folder) >= config.total_epochs:
        print(f"{folder} is finished; raise train.num_epochs to extend it")
        return 0
    make_spec(config.env)  # checks task names and spaces
    accel.check(config.system.accel, device)
    if config.log.video:
        check_renderer(config.env, seed=args.seed)
    if args.track:
        wandb.check()
    elif args.run_name is not None:
        raise UserError("--run_name: names the run on Weights & Biases, so it needs --track")
    return _train(config, args, folder, device, resuming=resuming)


def _train(
    config: Config, args: Namespace, folder: Path, device: torch.device, *, resuming: bool
) -> int:
    accel.import_all(config.system.accel)
    with SignalGuard(config.system.grace_seconds) as guard, ExitStack() as stack:
        pool = _worker_pool(config.system, stack)
        learner = _learner(config, device, args.seed)
        buffer = _buffer(config, learner)
        # Read a new run's initial weights before writing anything.
        start = None if resuming else start_from(learner, buffer, config.transfer)
        run = stack.enter_context(
            Run(folder, config, seed=args.seed, device=device, guard=guard, until=args.until)
        )
        if not resuming:  # another process may have used it since the first check
            check_unused(folder, resume=args.resume)
        saved = run.newest() if resuming else None
        if saved is None:
            start = start or start_from(learner, buffer, config.transfer)
        run.show(saved, start, asked_to_resume=args.resume)
        collector = stack.enter_context(_collector(config, args.seed, learner, pool, run))
        algo = RLAlgo(config, learner, collector, buffer, run)
        if saved is not None:
            algo.resume(saved)
        del saved  # frees a second copy of the networks and Adam's moments
        name = args.run_name or "/".join(folder.parts[-3:])
        run.begin(algo, tracked_as=name if args.track else None)
        finished = algo.train()
        return 0 if guard.requested is None or finished else 128 + guard.requested


def _worker_pool(system: SystemConfig, stack: ExitStack) -> WorkerPool:
    """The source of workers; closed with ``stack``."""
    if system.workers != "ray":
        return ProcessPool()
    from torchrl_lite.collector.ray_worker import RayPool

    return stack.enter_context(RayPool(system.ray))


def _learner(config: Config, device: torch.device, seed: int) -> Learner:
    keep_freed_memory()
    torch.set_num_threads(int(config.system.threads))
    torch.set_float32_matmul_precision(config.system.matmul_precision)
    torch.manual_seed(seed)  # for the initial weights; everything else has its own generators
    spec, learner = make_spec(config.env), ALGORITHMS[config.algo][0]
    return learner(
        config.agent,
        config.net,
        spec,
        device=device,
        seed=seed,
        accel=config.system.accel,
        gradients=config.train.gradients,
    )


def _buffer(config: Config, learner: Learner) -> ReplayBuffer:
    return ReplayBuffer(
        learner.spec,
        config.capacity,
        learner.device,
        copies=config.env.copies,
        old_weight=config.curriculum.old_weight if config.curriculum else 1.0,
    )


def _collector(
    config: Config, seed: int, learner: Learner, pool: WorkerPool, run: Run
) -> Collector:
    return Collector(
        config.env,
        learner.spec,
        learner.actor,
        epoch_frames=config.train.epoch_frames,
        seed=seed,
        workers=config.system.num_workers,
        pool=pool,
        env_timeout_s=config.system.env_timeout_s,
        info=config.info,
        say=run.say,
    )


def epochs_of_result(folder: Path) -> int:
    """Epochs of a finished run; -1 without a readable result."""
    try:
        result = read_result(folder)
    except UserError:
        return -1
    return -1 if result is None or result.epochs is None else result.epochs
