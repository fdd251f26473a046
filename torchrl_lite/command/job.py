"""One training run. Starters and `train` both use it; only this module wires the parts together."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from torchrl_lite.algo import accel
from torchrl_lite.analysis.axes import Until
from torchrl_lite.checkpoint.records import read_result
from torchrl_lite.checkpoint.store import Saved
from torchrl_lite.command.folder import check_unused
from torchrl_lite.command.parts import (
    make_buffer,
    make_collector,
    make_learner,
    read_demos,
    worker_pool,
)
from torchrl_lite.config import Config
from torchrl_lite.env.make import make_spec
from torchrl_lite.errors import UserError
from torchrl_lite.policies.film import check_renderer
from torchrl_lite.training.callback_run import Callback, CallbackRun
from torchrl_lite.training.memory_run import MemoryRun
from torchrl_lite.training.resume import resume
from torchrl_lite.training.rl_algo import RLAlgo
from torchrl_lite.training.run import Run
from torchrl_lite.training.signals import SignalGuard
from torchrl_lite.transfer.start import start_from


@dataclass(frozen=True)
class Job:
    """What to train, and where to store it."""

    config: Config
    """Resolved for this machine by `resolve`."""
    device: torch.device
    seed: int
    folder: Path | None = None
    """The run directory; None to write nothing."""
    resume: bool = False
    """``--resume`` was given; without an existing run, a new one starts."""
    resuming: bool = False
    """``folder`` holds a run to resume."""
    until: Until | None = None
    """Stop early; with core time, the run's earlier parts count too."""
    tracked_as: str | None = None
    """Name of the run on Weights & Biases; None: not logged there."""
    callback: Callback | None = None


def check_job(job: Job) -> None:
    """Checks the job before anything is built.

    Raises:
        UserError: a task is unknown, or acceleration or rendering is not available.
    """
    make_spec(job.config.env)  # checks task names and spaces
    accel.check(job.config.system.accel, job.device)
    if job.config.log.video and job.folder is not None:
        check_renderer(job.config.env, seed=job.seed)


def is_finished(job: Job) -> bool:
    """Whether its run directory holds a finished run of at least as many epochs."""
    if job.folder is None or not job.resuming:
        return False
    return epochs_of_result(job.folder) >= job.config.total_epochs


def epochs_of_result(folder: Path) -> int:
    """Epochs of a finished run; -1 without a readable result."""
    try:
        result = read_result(folder)
    except UserError:
        return -1
    return -1 if result is None or result.epochs is None else result.epochs


def work(job: Job, guard: SignalGuard) -> dict[str, Any] | None:
    """Trains; returns the content of ``result.json``, or None if ``guard`` or ``job.until`` stopped
    the run early."""
    config = job.config
    with ExitStack() as stack:
        pool = worker_pool(config.system, stack)
        learner = make_learner(config, seed=job.seed, device=job.device)
        buffer = make_buffer(config, learner)
        # Read a new run's demonstrations and initial weights before writing anything.
        demos = read_demos(config, learner)
        start = None if job.resuming else start_from(learner, buffer, config.transfer)
        run, saved = _open(job, guard, stack)
        if saved is None:
            start = start or start_from(learner, buffer, config.transfer)
        run.show(saved, start, asked_to_resume=job.resume)
        for line in demos.lines() if demos else ():
            run.say(f"demonstrations of {line}")
        collector = stack.enter_context(
            make_collector(
                config, learner, seed=job.seed, pool=pool, say=run.say, progress=run.progress
            )
        )
        algo = RLAlgo(config, learner, collector, buffer, run, demos)
        if saved is not None:
            run.phase("restoring")
            resume(algo, saved)
        elif start is not None and algo.reward_scale is not None:
            for task, rewards in start.rewards.items():
                algo.reward_scale.recall(task, *rewards)
            buffer.reward_scale.copy_(algo.reward_scale.factors())
        del saved  # frees a second copy of the networks and Adam's moments
        run.begin(algo, tracked_as=job.tracked_as)
        if not algo.train() and run.had_enough:
            run.finish(algo)
        return run.result


def _open(job: Job, guard: SignalGuard, stack: ExitStack) -> tuple[CallbackRun, Saved | None]:
    """The run, and the checkpoint to resume from, if any."""
    if job.folder is None:
        return MemoryRun(job.callback), None
    run = stack.enter_context(
        Run(
            job.folder,
            job.config,
            seed=job.seed,
            device=job.device,
            guard=guard,
            until=job.until,
            callback=job.callback,
        )
    )
    if job.resuming:
        return run, run.newest()
    check_unused(
        job.folder, resume=job.resume
    )  # another process may have used it since the first check
    return run, None
