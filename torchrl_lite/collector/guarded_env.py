"""An environment whose silence is noticed, and whose answers are what they should be."""

from typing import Any

import gymnasium as gym
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from torchrl_lite.collector.faults import Watchdog


class GuardedEnv(gym.Wrapper):
    """Passes everything on, observations as float64; a hanging call is told by the watchdog.

    Raises a ValueError or TypeError for an observation of another shape, or a reward, an end or a
    success that is none.
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
        if "success" in info:
            info["success"] = _number("success", info["success"])
        return (
            self._checked(obs),
            _number("reward", rew),
            bool(terminated),
            bool(truncated),
            info,
        )

    def _checked(self, obs: Any) -> ndarray:
        if np.shape(obs) != self._shape:
            raise ValueError(f"the observation has shape {np.shape(obs)}, not {self._shape}")
        return np.asarray(obs, np.float64)


def _number(name: str, value: Any) -> float:
    if type(value) is float:  # nearly always, and what follows takes its time
        return value
    if np.shape(value) != ():
        raise ValueError(f"the {name} has shape {np.shape(value)}, not that of a number")
    if value is None or isinstance(value, str):
        raise TypeError(f"the {name} is {value!r}, not a number")
    return float(value)
