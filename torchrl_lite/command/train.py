"""Trains from a script, with the same loop as the starters."""

import json
import operator
import signal
import threading
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, SupportsIndex

import torch

from torchrl_lite.algo import accel
from torchrl_lite.command.folder import is_to_resume
from torchrl_lite.command.job import Job, check_job, is_finished, work
from torchrl_lite.command.load import load_config
from torchrl_lite.command.options import find_device, resolve, resumed
from torchrl_lite.command.report import telling
from torchrl_lite.config import MAX_SEED, Config
from torchrl_lite.errors import UserError
from torchrl_lite.network.torch_settings import default_settings, settings_kept
from torchrl_lite.training.callback_run import Callback
from torchrl_lite.training.signals import Interrupted, SignalGuard


def train(
    config: Config | str | Path | Mapping[str, Any],
    *,
    seed: int = 1,
    run_dir: str | Path | None = None,
    device: str = "auto",
    callback: Callback | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Trains, and returns the content of ``result.json``: frames, updates, the final evaluation.

    ``config``: a `Config`, or anything `load_config` accepts. ``run_dir`` receives the files that a
    starter writes; without it, nothing is written or printed. ``callback`` is called with each
    epoch's row, by column of ``log.csv``; if it returns True, the run ends after this epoch with
    the final evaluation. ``resume`` continues the run in ``run_dir``, or starts it if there is
    none.

    With a ``run_dir``, the first SIGINT, SIGTERM or SIGHUP lets the epoch finish and saves a
    checkpoint, then raises KeyboardInterrupt, SystemExit(143) or SystemExit(129). Outside the main
    thread, signals are not handled. A script that uses workers needs ``if __name__ ==
    "__main__":``, because each worker imports it.

    Raises:
        UserError: an invalid configuration, seed or device, an existing run without ``resume``, or
            a change that a resumed run does not allow.
        RunError: an environment failed, or a checkpoint cannot be read or written.
    """
    seed = _checked_seed(seed)
    asked = config if isinstance(config, Config) else load_config(config)
    job = _job(asked, seed, run_dir, device=device, callback=callback, resume=resume)
    if job.folder is not None and is_finished(job):
        return json.loads((job.folder / "result.json").read_text(encoding="utf-8"))
    with telling(job.folder):
        check_job(job)
    accel.prepare(job.config.system.accel)
    guard = SignalGuard(job.config.system.grace_seconds)
    guarded = job.folder is not None and threading.current_thread() is threading.main_thread()
    try:
        with (
            telling(job.folder),
            settings_kept(),  # a run sets torch's threads, precision and seed
            default_settings(),
            torch.random.fork_rng(devices=[]),
            guard if guarded else nullcontext(),
        ):
            result = work(job, guard)
    except Interrupted as interrupted:
        _stop(interrupted.signum)
    if result is None or guard.requested is not None:  # also in the last epoch
        _stop(guard.requested)
    assert result is not None
    return result


def _checked_seed(seed: Any) -> int:
    if isinstance(seed, SupportsIndex) and 0 <= (number := operator.index(seed)) <= MAX_SEED:
        return number
    raise UserError(f"seed: {seed!r} is not an integer from 0 to {MAX_SEED}")


def _job(
    config: Config,
    seed: int,
    run_dir: str | Path | None,
    *,
    device: str,
    callback: Callback | None,
    resume: bool,
) -> Job:
    folder, resuming = None, False
    if run_dir is not None:
        folder = Path(run_dir).absolute()
        resuming = is_to_resume(folder, seed=seed, resume=resume)
    if folder is not None and resuming:
        config = resumed(folder / "params.json", config)
    return Job(
        resolve(config),
        find_device(device),
        seed,
        folder,
        resume=resume,
        resuming=resuming,
        callback=callback,
    )


def _stop(signum: int | None) -> None:
    if signum is None or signum == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + signum)
