"""What Ray runs: a starter, as a user would start it, and nothing of ours beside it.

That a run may be started again at any moment, anywhere, is the run directory's own work: its lock,
its checkpoints, ``--resume`` and ``result.json``. Nothing here imports torch, so that the process
which waits for a run stays small.
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
"""In a run directory: what the starter printed, attempt after attempt."""
MARK = "sweep.json"
"""In a run directory while a node works on it: which node, for which job of Ray's."""
PATIENCE_S = 60
"""Seconds in which what is left of a run on a dead node must have ended."""
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM, -signal.SIGINT, -signal.SIGTERM)


class StoppedError(RuntimeError):
    """Somebody's signal ended the run, such as the end of a node: worth another start."""


def run(trial: Trial, cwd: Path) -> Outcome:
    """Trains until the run ends by itself; never raises for a fault of the run.

    Raises:
        StoppedError: it was stopped by a signal.
    """
    # Ray cancels as Ctrl-C would, to which what is started in the background is deaf.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    trial.folder.mkdir(parents=True, exist_ok=True)
    try:
        _wait_for_lock(trial.folder)
    except BusyError as error:
        return Outcome(2, str(error))
    mark = trial.folder / MARK
    whole = mark.with_name(f".{MARK}")
    whole.write_text(json.dumps(_place()))
    whole.replace(mark)
    try:
        with (trial.folder / CONSOLE).open("ab") as log:
            start = log.tell()
            code = _train(trial, cwd, log.fileno())
    finally:
        mark.unlink(missing_ok=True)
    if code in STOPPED:
        raise StoppedError(f"stopped by a signal (exit code {code})")
    return Outcome(code, _last_line(trial.folder / CONSOLE, start, code) if code else "")


def _place() -> dict[str, str]:
    import ray

    context = ray.get_runtime_context()
    return {"node": context.get_node_id(), "job": context.get_job_id()}


def read_mark(folder: Path) -> dict[str, str] | None:
    """The node and the job that work on a run; None where nobody does, or the mark is damaged."""
    try:
        mark = json.loads((folder / MARK).read_text())
        return {key: mark[key] for key in ("node", "job")}
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _wait_for_lock(folder: Path) -> None:
    """
    Raises:
        BusyError: it is not given back in time.
    """
    for left in reversed(range(PATIENCE_S)):
        try:
            with locked(folder):
                return
        except BusyError:
            if not left:
                raise
            time.sleep(1)


def _train(trial: Trial, cwd: Path, output: int) -> int:
    command = [sys.executable, str(ROOT / "starter" / f"{trial.starter}.py"), *trial.argv]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        process_group=0,  # what a whole group is sent, such as Ctrl-C, comes by Ray, and once
        preexec_fn=_die_with(os.getpid()),
    )
    try:
        return process.wait(timeout=1e9)  # with a timeout, Ray's cancelling gets through
    except BaseException:  # cancelled: the run may finish an epoch that is nearly over
        process.terminate()
        process.wait()
        raise


def _die_with(parent: int) -> Callable[[], None]:
    """For the child: the kernel kills it when the process that Ray knows of is gone. Signals that
    Ray's processes block mean something to a run."""
    prctl, set_death_signal = ctypes.CDLL(None).prctl, 1

    def prepare() -> None:
        prctl(set_death_signal, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})

    return prepare


def _last_line(log: Path, start: int, code: int) -> str:
    """A starter's last word is the cause."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
