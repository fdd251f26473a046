"""Numbers that are none, and environments that do not answer."""

import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from torchrl_lite.collector.episode import EpisodeStats
from torchrl_lite.types import Block


class NotFiniteError(RuntimeError):
    """A NaN or an infinity; the message names task, frame and quantity."""


_QUANTITIES = {
    "obs": "observation",
    "act": "action",
    "rew": "reward",
    "next_obs": "next observation",
    "cont": "end of the episode",
    "first": "start of the episode",
}


def check_block(
    block: Block, tasks: Sequence[int], names: Sequence[str], *, before: Sequence[int]
) -> None:
    """``before`` is how many frames an environment of each task had lived before this epoch.

    Raises:
        NotFiniteError: the first frame with something that is not finite in these tasks' rows.
    """
    found: list[tuple[int, int, int, str]] = []
    for name, tensor in block._asdict().items():
        rows = tensor[list(tasks)]
        if torch.isfinite(rows.sum(dtype=torch.float64)):
            continue
        bad = ~rows.isfinite().reshape(*rows.shape[:3], -1).all(-1)  # [t, L, K]
        found += [(frame, tasks[row], copy, name) for row, frame, copy in bad.nonzero().tolist()]
    if found:
        frame, task, copy, name = min(found, key=lambda place: place[0])
        place = f"{names[task]} (copy {copy}): the {_QUANTITIES[name]}"
        raise NotFiniteError(
            f"{place} at frame {before[task] + frame + 1} is not finite; "
            "nothing of this epoch was stored"
        )


def check_metrics(metrics: Mapping[str, float], names: Sequence[str], *, frame: int) -> None:
    """``metrics`` is what `Learner.flush` returns; those of one task tell more than a mean.

    Raises:
        NotFiniteError: one is not finite, so that the weights are not to be trusted.
    """
    bad = [name for name, value in metrics.items() if not -float("inf") < value < float("inf")]
    if bad:
        name = next((name for name in bad if name.startswith("train_")), bad[0])
        quantity, task = name.split("/") if name.startswith("train_") else (name, ", ".join(names))
        raise NotFiniteError(
            f"{task}: {quantity.removeprefix('train_').removeprefix('train/')} is "
            f"{metrics[name]} in the updates at frame {frame}; these weights were not saved"
        )


def check_episodes(episodes: Sequence[EpisodeStats], names: Sequence[str], *, frame: int) -> None:
    """``episodes`` are those of an evaluation after so many frames of training.

    Raises:
        NotFiniteError: one has a reward that is not finite, or an observation among those that are
            looked at, so that no best weights are to be chosen by it.
    """
    for stats in episodes:
        good = stats.sample is None or bool(np.isfinite(stats.sample).all())
        if not (good and math.isfinite(stats.ret)):
            quantity = "an observation, action or reward" if not good else "the return"
            raise NotFiniteError(
                f"{names[stats.task]}: {quantity} in the evaluation at frame {frame} is not "
                "finite; the last checkpoint stands"
            )


class Watchdog:
    """Tells of a call that does not return, from a thread, since the call itself cannot.

    The time is looked at by the thread alone: a watched call costs two assignments. A machine that
    stood still is no reason to bark: the thread must have looked four times.
    """

    LOOKS = 4

    def __init__(self, seconds: float, bark: Callable[[str], None]) -> None:
        """``bark`` is told what hangs, and should end the process."""
        self._seconds, self._bark = seconds, bark
        self._what: str | None = None
        self._calls = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watchdog", daemon=True)
        self._thread.start()

    @contextmanager
    def watching(self, what: str) -> Iterator[None]:
        self.enter(what)
        try:
            yield
        finally:
            self.leave()

    def enter(self, what: str) -> None:
        self._calls += 1
        self._what = what

    def leave(self) -> None:
        self._what = None

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        last, looks = -1, 0
        while not self._stop.wait(self._seconds / self.LOOKS):
            calls, what = self._calls, self._what
            looks = looks + 1 if what is not None and calls == last else 0
            last = calls
            if what is not None and looks >= self.LOOKS:
                self._bark(f"{what}: no answer for {self._seconds:g} s (system.env_timeout_s)")
                return


def end_process(message: str) -> None:
    """Ends the main process at once, with the cause last; the last checkpoint stands."""
    sys.stdout.flush()
    print(f"error: {message}", file=sys.stderr, flush=True)
    os._exit(1)
