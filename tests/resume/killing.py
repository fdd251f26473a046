"""Runs a starter in a child process and kills it with SIGKILL at a chosen moment.

A server imports the package once. Every run is a fork of it that calls the command's own ``main``
on its own files.
"""

import json
import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import active_children
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


class Moment(NamedTuple):
    """The ``count``-th time that the process reaches ``phase``. For the phase "instant", it is a
    time instead, in thousandths of the uninterrupted run's duration."""

    phase: str
    count: int

    def __str__(self) -> str:
        return f"{self.phase}:{self.count}"


# --- in the child --------------------------------------------------------------------------------


def kill_at(moment: Moment) -> None:
    """Makes this process kill itself, or one of its workers, at that moment."""
    left = moment.count

    def reached() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            worker = moment.phase == "worker"
            victim = active_children()[0].pid if worker else os.getpid()
            assert victim
            os.kill(victim, signal.SIGKILL)

    _hook(moment.phase, reached)


def _wrap(
    owner: Any,
    name: str,
    *,
    before: Callable[[], object] = lambda: None,
    after: Callable[[], object] = lambda: None,
) -> None:
    """Calls these before and after each call of a method."""
    original = getattr(owner, name)

    def method(*args: Any, **options: Any) -> Any:
        before()
        result = original(*args, **options)
        after()
        return result

    setattr(owner, name, method)


def _hook(phase: str, reached: Callable[[], None]) -> None:
    from torchrl_lite.algo.learner import Learner
    from torchrl_lite.collector.collector import Collector
    from torchrl_lite.collector.episode import EpisodeRunner
    from torchrl_lite.reporting.logger import Logger
    from torchrl_lite.training.rl_algo import RLAlgo

    if phase == "collect":  # an environment step in this process, or the wait for workers
        _wrap(EpisodeRunner, "step", before=reached)
        _wrap(Collector, "result", before=reached)
    elif phase == "worker":  # while the workers collect
        _wrap(Collector, "submit", after=reached)
    elif phase == "update":  # between two updates, or two optimiser steps of one
        _wrap(Learner, "step", before=reached)
    elif phase == "evaluate":  # before it starts, or after it ends with nothing written yet
        _wrap(Collector, "evaluate", before=reached, after=reached)
    elif phase == "log":  # after a row is written, before its checkpoint
        _wrap(Logger, "dump", after=reached)
    elif phase == "stage":  # at its end: decided, logged, and its weights written
        _wrap(Logger, "mark", before=reached, after=reached)
        _wrap(RLAlgo, "_check_stage", after=reached)
    else:
        _save(reached)


def _save(reached: Callable[[], None]) -> None:
    """Within a save: after half of a file, after all of it, and after its renaming."""
    fdopen = os.fdopen

    def half(handle: int, *args: Any) -> Any:
        file = fdopen(handle, *args)
        write = file.write

        def write_halves(data: Any) -> int:
            view = memoryview(data)
            middle = view.nbytes // 2
            write(view[:middle])
            file.flush()
            reached()
            return middle + write(view[middle:])

        file.write = write_halves  # type: ignore[method-assign]
        return file

    os.fdopen = half  # type: ignore[assignment]
    _wrap(os, "fsync", after=reached)


# Roughly how often a run of `TINY` reaches each; only curricula have stages.
PHASES = {"collect": 100, "update": 60, "evaluate": 7, "log": 9, "save": 80, "instant": 1000}


def _child(request: dict[str, Any]) -> int:
    log = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    from torchrl_lite.command.launch import main

    if request["moment"]:
        kill_at(Moment(*request["moment"]))
    return main(request["algo"], request["argv"], multi_task=request["multi_task"])


def _serve() -> None:
    """Reads one JSON request per line; prints the run's exit code, negative for a signal."""
    import torch
    import torch._dynamo  # else the first optimiser of every run imports it
    from resume.setups import TASKS

    import torchrl_lite.command.launch  # noqa: F401
    from torchrl_lite.env.goals import goals

    torch.set_num_threads(1)
    for task in TASKS:
        goals(task, 1)
    for line in sys.stdin:
        request = json.loads(line)
        seconds = request.pop("seconds")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = _child(request)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        if seconds is not None:
            _kill_after(child, seconds)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _kill_after(child: int, seconds: float) -> None:
    handle = os.pidfd_open(child)
    if not select.select([handle], [], [], seconds)[0]:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)


# --- in the test ---------------------------------------------------------------------------------


class Server:
    """Starts runs in processes that have already imported everything."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            text=True,
        )

    def run(
        self,
        log_dir: Path,
        *argv: str,
        algo: str,
        many: bool,
        at: Moment | None = None,
        uninterrupted_s: float = 0.0,
    ) -> int:
        """Returns the exit code and appends what is printed to ``output`` in ``log_dir``;
        ``uninterrupted_s`` is how long an uninterrupted run takes."""
        timed = at is not None and at.phase == "instant"
        assert self._process.stdin and self._process.stdout
        request = {
            "argv": [*argv, "--device", "cpu", "--id", "x", "--log_dir", str(log_dir)],
            "algo": algo,
            "multi_task": many,
            "moment": None if timed else at,
            "seconds": at.count / 1000 * uninterrupted_s if at and timed else None,
            "output": str(log_dir / "output"),
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def random_moments(rng: random.Random, number: int) -> list[Moment]:
    """``number`` random moments, mostly early ones, since each is relative to a resumed run."""
    phases = [rng.choice(list(PHASES)) for _ in range(number)]
    return [Moment(phase, 1 + int(PHASES[phase] * rng.random() ** 2)) for phase in phases]


if __name__ == "__main__":
    _serve()
