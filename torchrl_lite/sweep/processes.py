"""A sweep without Ray: runs as processes of this machine, some at a time."""

import os
import signal
import subprocess
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from torchrl_lite.sweep import task
from torchrl_lite.sweep.base import Runner
from torchrl_lite.sweep.trial import MAX_RETRIES, Outcome, Trial

HERE = "localhost"


class Processes(Runner):
    """``jobs`` runs at a time; a thread waits for each."""

    def __init__(self, jobs: int) -> None:
        super().__init__()
        self._jobs = jobs
        self._threads = ThreadPoolExecutor(jobs)
        self._processes: dict[Path, subprocess.Popen[bytes]] = {}
        self._cancelled: set[Path] = set()

    def slots(self, *, cpus: int, gpus: float) -> int:  # noqa: ARG002
        return self._jobs

    def too_small_for(self, *, cpus: int, gpus: float) -> str:  # noqa: ARG002
        return ""

    def submit(self, trials: Sequence[Trial], *, cpus: int, gpus: float) -> None:  # noqa: ARG002
        for trial in trials:
            self._trials[self._threads.submit(self._run, trial, Path.cwd())] = trial

    def finished(self, seconds: float) -> list[tuple[Trial, Outcome]]:
        done, _ = wait(self._trials, timeout=seconds, return_when=FIRST_COMPLETED)
        return [(self._trials.pop(future), self._outcome(future)) for future in done]

    def _outcome(self, future: Future[Outcome]) -> Outcome:
        if future.cancelled():
            return Outcome(128 + signal.SIGTERM, "cancelled")
        error = future.exception()
        return Outcome(1, f"{type(error).__name__}: {error}") if error else future.result()

    def _run(self, trial: Trial, cwd: Path) -> Outcome:
        """In a thread: makes the run, again where a signal from outside stopped it."""
        stopped = "cancelled"
        for _ in range(1 + MAX_RETRIES):
            if trial.folder in self._cancelled:
                break
            try:
                return task.attempt(trial, cwd, place=_place, started=self._started)
            except task.StoppedError as error:
                stopped = str(error)
        return Outcome(128 + signal.SIGTERM, stopped)

    def _started(self, trial: Trial, process: subprocess.Popen[bytes]) -> None:
        self._processes[trial.folder] = process
        if trial.folder in self._cancelled:
            process.terminate()

    def node_of(self, folder: Path) -> str | None:
        mark = task.read_mark(folder)
        return HERE if mark == _place() else None

    def cancel(self, trial: Trial) -> None:
        self._cancelled.add(trial.folder)
        for future, other in self._trials.items():
            if other == trial and not future.cancel() and trial.folder in self._processes:
                self._processes[trial.folder].terminate()

    def close(self) -> None:
        for trial in self._trials.values():
            self._cancelled.add(trial.folder)
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
        self._threads.shutdown(cancel_futures=True)


def _place() -> dict[str, str]:
    return {"node": HERE, "job": str(os.getpid())}
