"""Guards environments: a watchdog for hung calls, and checks of what they return."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
from jaxtyping import Float
from numpy import ndarray


class Watchdog:
    """Reports a call that does not return, from a separate thread.

    Only the thread reads the clock, so a watched call costs two assignments. The thread must find
    the same call four times: a machine that was suspended does not trigger it.
    """

    LOOKS = 4

    def __init__(self, seconds: float, on_hang: Callable[[str], None]) -> None:
        """``on_hang`` is called with what hangs, and should end the process."""
        self._seconds, self._on_hang = seconds, on_hang
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
                self._on_hang(f"{what}: no response for {self._seconds:g} s (system.env_timeout_s)")
                return


def end_process(message: str) -> None:
    """Ends the main process at once, printing the cause last. The last checkpoint remains valid."""
    sys.stdout.flush()
    print(f"error: {message}", file=sys.stderr, flush=True)
    os._exit(1)


class GuardedEnv(gym.Wrapper):
    """Forwards every call, with float64 observations. The watchdog reports a hung call.

    Raises a ValueError or TypeError for an observation of the wrong shape, or an invalid reward or
    end of episode.
    """

    def __init__(
        self, env: gym.Env, name: str, *, shape: tuple[int, ...], watchdog: Watchdog
    ) -> None:
        super().__init__(env)
        self._name, self._shape, self._watchdog = name, shape, watchdog

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float[ndarray, " O"], dict[str, Any]]:
        with self._watchdog.watching(self._name):
            obs, info = self.env.reset(seed=seed, options=options)
        return self._checked(obs), info

    def step(
        self, action: Float[ndarray, " A"]
    ) -> tuple[Float[ndarray, " O"], float, bool, bool, dict[str, Any]]:
        self._watchdog.enter(self._name)
        try:
            obs, rew, terminated, truncated, info = self.env.step(action)
        finally:
            self._watchdog.leave()
        return self._checked(obs), number("reward", rew), bool(terminated), bool(truncated), info

    def _checked(self, obs: Any) -> ndarray:
        if np.shape(obs) != self._shape:
            raise ValueError(f"the observation has shape {np.shape(obs)}, not {self._shape}")
        return np.asarray(obs, np.float64)


def number(name: str, value: Any) -> float:
    """
    Raises:
        ValueError, TypeError: it is no number; ``name`` is what it should be.
    """
    if type(value) is float:  # the fast path, nearly always taken
        return value
    if np.shape(value) != ():
        raise ValueError(f"the {name} has shape {np.shape(value)}, but must be a scalar")
    if value is None or isinstance(value, str):
        raise TypeError(f"the {name} is {value!r}, not a number")
    return float(value)
