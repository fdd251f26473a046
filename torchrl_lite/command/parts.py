"""Builds the parts of a training run from a configuration: learner, replay buffer, collector."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch

from torchrl_lite.algo import accel
from torchrl_lite.algo.learner import Learner
from torchrl_lite.algo.malloc import keep_freed_memory
from torchrl_lite.algo.registry import ALGORITHMS
from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.collector.collector import Collector, no_progress
from torchrl_lite.collector.protocol import WorkerPool
from torchrl_lite.collector.setup import RolloutSetup
from torchrl_lite.collector.worker import ProcessPool
from torchrl_lite.command.options import find_device, resolve
from torchrl_lite.config import Config, SystemConfig
from torchrl_lite.demos.file import Demonstrations, read
from torchrl_lite.env.make import make_spec


def worker_pool(system: SystemConfig, stack: ExitStack) -> WorkerPool:
    """The source of workers; closed with ``stack``."""
    if system.workers != "ray":
        return ProcessPool()
    from torchrl_lite.collector.ray_worker import RayPool

    return stack.enter_context(RayPool(system.ray))


def make_learner(config: Config, *, seed: int = 1, device: torch.device | str = "auto") -> Learner:
    """Builds the networks, optimisers and update rule of ``config.algo``.

    Sets torch's number of threads, matmul precision and global seed.

    Raises:
        UserError: unknown task or device, unsupported spaces, or a ``system.accel`` that this
            device or machine cannot run.
    """
    system = resolve(config).system
    keep_freed_memory()
    torch.set_num_threads(int(system.threads))
    torch.set_float32_matmul_precision(system.matmul_precision)
    # For the initial weights; everything else has its own generators, also on a GPU.
    torch.default_generator.manual_seed(seed)
    spec, learner = make_spec(config.env), ALGORITHMS[config.algo][0]
    place = find_device(device) if isinstance(device, str) else device
    accel.check(system.accel, place)
    accel.prepare(system.accel)
    return learner(
        config.agent,
        config.net,
        spec,
        device=place,
        seed=seed,
        accel=system.accel,
        gradients=config.train.gradients,
    )


def make_buffer(config: Config, learner: Learner) -> ReplayBuffer:
    """An empty replay buffer on the learner's device."""
    return ReplayBuffer(
        learner.spec,
        config.capacity,
        learner.device,
        copies=config.env.copies,
        old_weight=config.curriculum.old_weight if config.curriculum else 1.0,
    )


def read_demos(config: Config, learner: Learner) -> Demonstrations | None:
    """The demonstrations of ``train.demos``.

    Raises:
        UserError: they cannot be read, or are not of this run's tasks.
    """
    path = config.train.demos
    return None if path is None else read(Path(path)).check_fit(config.env, learner.spec, path)


def make_collector(
    config: Config,
    learner: Learner,
    *,
    seed: int = 1,
    pool: WorkerPool | None = None,
    say: Callable[[str], None] = print,
    progress: Callable[[int, int], None] = no_progress,
) -> Collector:
    """Starts environments for ``train.epoch_frames`` steps per epoch; use it in a ``with``.

    ``pool`` starts the workers, by default as local processes; ``say`` receives messages about
    workers that died, ``progress`` the number of workers that have started, or of evaluation
    episodes that have ended, and of how many.

    Raises:
        EpisodeError, WorkerError: an environment could not be created.
    """
    system = resolve(config).system
    groups, workers = config.env.num_groups, system.num_workers
    if groups < workers:
        hint = "; a lower env.group_size makes more groups" if config.env.group_size > 1 else ""
        say(f"system.workers: {groups} of {workers} collect, the rest only evaluate{hint}")
    setup = RolloutSetup(
        config.env, learner.spec, learner.actor, seed, system.env_timeout_s, config.info
    )
    return Collector(
        setup,
        epoch_frames=config.train.epoch_frames,
        workers=workers,
        pool=pool,
        say=say,
        progress=progress,
    )
