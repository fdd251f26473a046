"""What makes the runs of a sweep, as the sweep sees it."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torchrl_lite.sweep.trial import Outcome, Trial

STOP_S = 60
"""Seconds that stopped runs have to finish their epoch."""


class Runner(ABC):
    """Makes runs and tells how they ended."""

    def __init__(self) -> None:
        self._trials: dict[Any, Trial] = {}
        """Those that wait or go on, by what stands for their outcome."""

    @property
    def busy(self) -> bool:
        """Whether a run waits or goes on."""
        return bool(self._trials)

    @abstractmethod
    def slots(self, *, cpus: int, gpus: float) -> int:
        """How many runs of this size fit at once."""

    @abstractmethod
    def too_small_for(self, *, cpus: int, gpus: float) -> str:
        """A message if a run can never start, else empty."""

    @abstractmethod
    def submit(self, trials: Sequence[Trial], *, cpus: int, gpus: float) -> None: ...

    @abstractmethod
    def finished(self, seconds: float) -> list[tuple[Trial, Outcome]]:
        """Trials that have ended; waits up to ``seconds`` for the first."""

    @abstractmethod
    def node_of(self, folder: Path) -> str | None:
        """Where a run goes on; None while it waits."""

    @abstractmethod
    def cancel(self, trial: Trial) -> None:
        """Let a run end with a checkpoint, or never begin."""

    def stop(self, *, at_once: Callable[[], bool]) -> None:
        """Cancel all; stop waiting for them once ``at_once`` returns true."""
        for trial in list(self._trials.values()):
            self.cancel(trial)
        end = time.monotonic() + STOP_S
        while self.busy and time.monotonic() < end and not at_once():
            self.finished(seconds=0.5)

    @abstractmethod
    def close(self) -> None: ...
