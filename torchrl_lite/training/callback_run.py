"""What a run in memory and a run directory share: a callback after every epoch, and a result."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torchrl_lite.checkpoint.store import Saved
from torchrl_lite.errors import CallbackExit
from torchrl_lite.reporting.console import Row
from torchrl_lite.training.null_run import NullRun
from torchrl_lite.training.rl_algo import RLAlgo
from torchrl_lite.transfer.start import Start

Callback = Callable[[Row], bool | None]
"""Called with each epoch's row, by column of ``log.csv``; the run stops if it returns True."""


class CallbackRun(NullRun):
    """`result` is the content of ``result.json``; None until the run finishes."""

    def __init__(self, callback: Callback | None = None) -> None:
        self._callback = callback
        self._started = time.perf_counter()
        self._cpu_s = time.process_time()
        self.had_enough = False
        """Whether the callback ended the run."""
        self.result: dict[str, Any] | None = None

    def show(self, saved: Saved | None, start: Start | None, *, asked_to_resume: bool) -> None:
        """Reports where the run starts."""
        raise NotImplementedError

    def begin(self, algo: RLAlgo, *, tracked_as: str | None = None) -> None:
        """Called when everything is built, before the first epoch."""

    def during_epoch(self) -> AbstractContextManager[object]:
        self._epoch_started = time.perf_counter()
        return nullcontext()

    def times(self, row: Row) -> Row:
        """Seconds of the epoch until now. The row has the workers' CPU time; this adds ours."""
        before, self._cpu_s = self._cpu_s, time.process_time()
        return {
            "time/cpu_s": self._cpu_s - before + (row["time/cpu_s"] or 0.0),
            "time/total_s": time.perf_counter() - self._epoch_started,
        }

    def asks_to_stop(self, row: Mapping[str, Any]) -> bool:
        """Passes a copy of the row to the callback; returns whether it has ended the run."""
        try:
            if self._callback is not None and self._callback(dict(row)):
                self.had_enough = True
        except SystemExit as end:
            raise CallbackExit(end.code) from end
        return self.had_enough

    @property
    def wall_time(self) -> float:
        """Wall time in seconds of this process's part of the run."""
        return time.perf_counter() - self._started
