"""Wrappers around environments by name, for every suite (``env.wrappers``)."""

import inspect
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box
from gymnasium.wrappers import (
    FlattenObservation,
    FrameStackObservation,
    TimeAwareObservation,
    TransformObservation,
)
from gymnasium.wrappers.utils import rescale_box
from jaxtyping import Bool, Float
from numpy import ndarray

from torchrl_lite.config import WrapperConfig, nearest
from torchrl_lite.env.failing import RAISED
from torchrl_lite.errors import UserError

MAX_STACKED = 2**20
"""Limit of numbers in stacked observations, which a stored configuration may name."""

Maker = Callable[..., gym.Env]
"""Called with an environment and the arguments in the configuration; returns the wrapped one."""
Reward = Callable[..., float]
"""``(obs, action, next_obs, reward, info, **arguments)`` to the reward that replaces ``reward``."""


def register_wrapper(name: str, make: Maker | None = None, *, reward: Reward | None = None) -> None:
    """Register a wrapper for ``env.wrappers``; call it in a module that ``env.imports`` names.

    Either ``make(env, **arguments)`` returns the wrapped environment, as the class of a
    `gymnasium.Wrapper` does, or ``reward(obs, action, next_obs, reward, info, **arguments)``
    returns a step's shaped reward. The arguments are those in the configuration. An episode stays a
    function of its seed, goal and actions if ``reset`` resets all that the wrapper remembers.

    Raises:
        UserError: the name is not allowed, or that of a shipped wrapper.
        TypeError: not exactly one of ``make`` and ``reward``.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name) or name in _SHIPPED:
        raise UserError(
            f"register_wrapper: {name!r} is shipped, or not made of letters, digits and _ . + -"
        )
    if (make is None) == (reward is None):
        raise TypeError("register_wrapper takes either make or reward")
    if reward is not None:
        make = partial(ShapedReward, reward)
    assert make is not None
    _registered[name] = make


class ShapedReward(gym.Wrapper):
    """Replaces rewards by those of a function, which gets a copy of ``info``: the success stays."""

    def __init__(self, function: Reward, env: gym.Env, /, **arguments: Any) -> None:
        super().__init__(env)
        inspect.signature(function).bind(*[None] * 5, **arguments)  # else the first step fails
        self._function, self._arguments = function, arguments
        self._obs: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        self._obs = np.array(obs)  # an environment may return the same array every time
        return obs, info

    def step(self, action: Float[ndarray, " A"]) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, (next_obs, reward, *ends, info) = self._obs, self.env.step(action)
        self._obs = np.array(next_obs)
        shaped = self._function(obs, action, next_obs, reward, dict(info), **self._arguments)
        return next_obs, shaped, ends[0], ends[1], info


def _time(env: gym.Env, *, normalize_time: bool = False) -> gym.Env:
    return TimeAwareObservation(env, normalize_time=normalize_time)


def _frames(env: gym.Env, *, stack_size: int, padding_type: str = "reset") -> gym.Env:
    size = gym.spaces.flatdim(env.observation_space)
    if stack_size * size > MAX_STACKED:
        raise ValueError(f"stack_size {stack_size} times {size} numbers is above {MAX_STACKED}")
    return FrameStackObservation(env, stack_size, padding_type=padding_type)


def _rescale(env: gym.Env, *, min_obs: float | int = -1, max_obs: float | int = 1) -> gym.Env:
    """As Gymnasium's `RescaleObservation`; entries without two different bounds stay as they are,
    which it would refuse."""
    space = env.observation_space
    if not isinstance(space, Box):
        raise TypeError(f"the observations are {type(space).__name__}, not Box")
    bounded = finite_range(space) & (space.low < space.high)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    part = Box(low[bounded], high[bounded], dtype=np.float64)
    scaled, forward, _ = rescale_box(part, np.float64(min_obs), np.float64(max_obs))
    low[bounded], high[bounded] = scaled.low, scaled.high

    def rescaled(obs: Any) -> Float[ndarray, " O"]:
        new = np.array(obs, np.float64)
        new[bounded] = forward(new[bounded])
        return new

    return TransformObservation(env, rescaled, Box(low, high, dtype=np.float64))


def finite_range(space: Box) -> Bool[ndarray, " n"]:
    """Which entries have two bounds; the dtype's largest numbers count as none."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.isfinite(space.high - space.low)


_SHIPPED: dict[str, Maker] = {
    "TimeAwareObservation": _time,
    "FrameStackObservation": _frames,
    "RescaleObservation": _rescale,
}
_registered: dict[str, Maker] = {}


def maker_of(wrapper: WrapperConfig) -> Maker:
    """
    Raises:
        UserError: no wrapper has this name; the message has the nearest one.
    """
    known = _SHIPPED | _registered
    if wrapper.name not in known:
        hint = f"{nearest(wrapper.name, known)}; known are {', '.join(known)}"
        raise UserError(
            f"env.wrappers: {wrapper.name!r} is unknown{hint}; modules of env.imports register more"
        )
    return known[wrapper.name]


def wrapped(env: gym.Env, wrappers: Iterable[WrapperConfig]) -> gym.Env:
    """The environment within its wrappers, the first one innermost; observations are flattened.

    Raises:
        UserError: unknown wrapper or arguments, or one that changes the actions.
    """
    for wrapper in wrappers:
        make, inner = maker_of(wrapper), env
        try:
            env = _flat(make(inner, **wrapper.arguments))
        except RAISED as error:
            raise UserError(
                f"env.wrappers: {wrapper.name!r} cannot be applied "
                f"({type(error).__name__}: {error})"
            ) from None
        if env.action_space != inner.action_space:
            raise UserError(
                f"env.wrappers: {wrapper.name!r} changes the actions; wrappers may change "
                "observations, rewards and ends of episodes"
            )
    return env


def _flat(env: Any) -> gym.Env:
    if not isinstance(env, gym.Env):
        raise TypeError("it makes no gymnasium.Env")
    space = env.observation_space
    if not (isinstance(space, Box) and len(space.shape) == 1):
        env = FlattenObservation(env)
    if not isinstance(env.observation_space, Box):
        raise TypeError(f"its observations, {space}, are not arrays of a fixed size")
    return env
