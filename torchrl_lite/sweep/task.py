"""One run of a sweep, as a Ray task or in a thread: a training in a subprocess, as a user would
start it.

A run can be restarted at any time on any node thanks to its run directory: lock, checkpoints,
``--resume`` and ``result.json``. This module does not import torch, so that the process that waits
for a run stays small.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from torchrl_lite.checkpoint.lock import locked
from torchrl_lite.errors import BusyError
from torchrl_lite.sweep.trial import Outcome, Trial

ROOT = Path(__file__).parents[2]
CONSOLE = "console.log"
"""In a run directory: the starter's output, of all attempts."""
MARK = "sweep.json"
"""In a run directory while a node trains it: the ids of the node and of the sweep (its Ray job)."""
PATIENCE_S = 60
"""Seconds to wait for the processes of an earlier attempt to end."""
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedError(RuntimeError):
    """A signal from outside ended the run, such as a node's shutdown: worth a retry."""


def run(trial: Trial, cwd: Path) -> Outcome:
    """The Ray task; raises as `attempt` does."""
    # Ray cancels with SIGINT, which background processes ignore by default.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return attempt(trial, cwd, place=_place)


def attempt(
    trial: Trial,
    cwd: Path,
    *,
    place: Callable[[], dict[str, str]],
    started: Callable[[Trial, subprocess.Popen[bytes]], None] = lambda *_: None,
) -> Outcome:
    """Train until the run ends; never raises for an error of the run itself.

    ``place`` returns what the run is marked with. ``started`` is told the process.

    Raises:
        StoppedError: it was stopped by a signal.
    """
    trial.folder.mkdir(parents=True, exist_ok=True)
    try:
        _wait_for_lock(trial.folder)
    except BusyError as error:
        return Outcome(2, str(error))
    mark = trial.folder / MARK
    whole = mark.with_name(f".{MARK}")
    whole.write_text(json.dumps(place()))
    whole.replace(mark)
    try:
        with (trial.folder / CONSOLE).open("ab") as log:
            start = log.tell()
            code = _train(trial, cwd, log.fileno(), started)
    finally:
        mark.unlink(missing_ok=True)
    if code in {code for number in STOPPING for code in (128 + number, -number)}:
        raise StoppedError(f"stopped by a signal (exit code {code})")
    return Outcome(code, _last_line(trial.folder / CONSOLE, start, code) if code else "")


def _place() -> dict[str, str]:
    import ray

    context = ray.get_runtime_context()
    return {"node": context.get_node_id(), "job": context.get_job_id()}


def read_mark(folder: Path) -> dict[str, str] | None:
    """Node and job that train a run; None if there are none, or the mark is damaged."""
    try:
        mark = json.loads((folder / MARK).read_text())
        return {key: mark[key] for key in ("node", "job")}
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _wait_for_lock(folder: Path) -> None:
    """
    Raises:
        BusyError: the lock is not released in time.
    """
    for left in reversed(range(PATIENCE_S)):
        try:
            with locked(folder):
                return
        except BusyError:
            if not left:
                raise
            time.sleep(1)


def _train(
    trial: Trial,
    cwd: Path,
    output: int,
    started: Callable[[Trial, subprocess.Popen[bytes]], None],
) -> int:
    algo = trial.starter.partition("_")[2]
    # -P: a file in the run's working directory must not hide a package
    command = [sys.executable, "-P", "-m", "torchrl_lite.cli", "train", algo, *trial.argv]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        process_group=0,  # group signals such as Ctrl-C reach it via Ray, only once
        preexec_fn=_die_with(os.getpid()),
    )
    try:
        started(trial, process)
        return process.wait(timeout=1e9)  # with a timeout, Ray can interrupt the wait
    except BaseException:  # cancelled: the run may finish its epoch
        process.terminate()
        process.wait()
        raise


def _die_with(parent: int) -> Callable[[], None]:
    """For the child: make the kernel kill it when the process or thread that started it ends, and
    unblock the signals that Ray's processes block."""
    prctl, set_death_signal = ctypes.CDLL(None).prctl, 1

    def prepare() -> None:
        prctl(set_death_signal, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)

    return prepare


def _last_line(log: Path, start: int, code: int) -> str:
    """The cause of a failure: the last line that the starter printed."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")
