"""An environment whose silence and whose shapes are noticed."""

from typing import Any, cast

import gymnasium as gym
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from torchrl_lite.collector.faults import Watchdog


class GuardedEnv(gym.Wrapper):
    """Passes everything on; a hanging call is told by the watchdog.

    Raises a ValueError for an observation of another shape or a reward that is no number.
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
        shape = np.shape(cast(Any, rew))
        if shape != ():
            raise ValueError(f"the reward has shape {shape}, not that of a number")
        return self._checked(obs), float(rew), terminated, truncated, info

    def _checked(self, obs: Any) -> ndarray:
        if np.shape(obs) != self._shape:
            raise ValueError(f"the observation has shape {np.shape(obs)}, not {self._shape}")
        return obs
