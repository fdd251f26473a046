"""Any continuous Gymnasium environment, from Gymnasium itself (MuJoCo v5) or another package.

Actions in [-1, 1] are scaled to the environment's bounds; observations, rewards and episode ends
are unchanged.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box
from jaxtyping import Float
from numpy import ndarray

from torchrl_lite.config import MAX_HORIZON, EnvConfig, nearest
from torchrl_lite.env.failing import RAISED, named
from torchrl_lite.env.viewing import NO_VIEW, View, follow, open_window, prepare
from torchrl_lite.env.wrappers import finite_range
from torchrl_lite.errors import UserError


class GymnasiumEnv(gym.Env):
    """One environment by its id, with actions in [-1, 1].

    ``reset(seed=s)`` determines an episode. There are no goals: ``options={"goal": j}`` is ignored.
    ``horizon`` overrides the registered time limit.

    Raises:
        UserError: unknown id or camera, unsupported spaces, or a time limit that is missing or too
            long.
    """

    def __init__(
        self,
        task: str,
        *,
        seed: int = 1,  # noqa: ARG002 - nothing is fixed per task: every reset is seeded
        horizon: int | None = None,
        view: View = NO_VIEW,
    ) -> None:
        own_limit = _find(task).max_episode_steps
        self.task = task
        self._env = _make(task, horizon, view.render_mode)
        try:
            self._own = _continuous(task, self._env.action_space)
            self.observation_space = _vector(task, self._env.observation_space, "observations")
            _check_limit(task, horizon or own_limit)
            prepare(self._env, view, task=task, default=follow)
        except UserError:
            self._env.close()
            raise
        low, high = self._own.low.astype(np.float64), self._own.high.astype(np.float64)
        self._center, self._half = (low + high) / 2, (high - low) / 2
        self.action_space = Box(-1.0, 1.0, self._own.shape, np.float32)
        self.render_mode, self.metadata = view.render_mode, self._env.metadata
        self.spec = self._env.spec
        if view.render_mode == "human":
            open_window(self._env)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        own = {key: value for key, value in (options or {}).items() if key != "goal"}
        obs, info = self._env.reset(seed=seed, options=own or None)
        return obs, info | {"task": self.task}

    def step(self, action: Float[ndarray, " A"]) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        if len(action) != len(self._half):
            raise ValueError(f"actions should be size {len(self._half)}, got {len(action)}")
        own_action = (self._center + action * self._half).astype(self._own.dtype)
        own_action.clip(self._own.low, self._own.high, out=own_action)  # against rounding errors
        obs, reward, terminated, truncated, info = self._env.step(own_action)
        return obs, reward, terminated, truncated, info | {"task": self.task}

    def render(self) -> Any:
        return self._env.render()

    def close(self) -> None:
        self._env.close()


make = GymnasiumEnv


def options(_config: EnvConfig) -> dict[str, Any]:
    """The fields of a configuration that are for this suite: none."""
    return {}


def shape(task: str, config: EnvConfig) -> tuple[int, int]:
    """Sizes of the observation and the action.

    Raises:
        UserError: as `GymnasiumEnv`.
        EpisodeError: it cannot be closed.
    """
    env = GymnasiumEnv(task, horizon=config.max_episode_frames)
    with named(task):
        env.close()
    assert env.observation_space.shape and env.action_space.shape
    return env.observation_space.shape[0], env.action_space.shape[0]


def horizon(task: str, _config: EnvConfig) -> int:
    """The registered time limit of the id, in steps."""
    limit = _find(task).max_episode_steps
    assert limit is not None, "already checked by shape()"
    return limit


def _find(task: str) -> Any:
    """The id's entry in Gymnasium's registry."""
    if task not in gym.registry:
        hint = f"{nearest(task, gym.registry)}; env.imports names modules that register more"
        raise UserError(f"env.tasks: {task!r} is not a registered Gymnasium id{hint}")
    return gym.registry[task]


def _make(task: str, horizon: int | None, render_mode: str | None) -> gym.Env:
    # Not all constructors take a render mode.
    view = {} if render_mode is None else {"render_mode": render_mode}
    try:
        return gym.make(task, max_episode_steps=horizon, disable_env_checker=True, **view)
    except RAISED as error:  # a missing package, a renderer, its own code
        what = "created" if render_mode is None else "created with a picture"
        raise UserError(f"env.tasks: {task!r} cannot be {what} ({_message(error)})") from None


def _message(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _vector(task: str, space: gym.Space, what: str) -> Box:
    if not isinstance(space, Box):
        raise UserError(
            f"env.tasks: the {what} of {task!r} are {type(space).__name__}; only Box is supported "
            "(a Gymnasium wrapper can be applied where the id is registered)"
        )
    if len(space.shape) != 1 or not space.shape[0]:
        raise UserError(
            f"env.tasks: the {what} of {task!r} have shape {space.shape}; only vectors are "
            "supported"
        )
    return space


def _continuous(task: str, space: gym.Space) -> Box:
    """A bounded action space."""
    box = _vector(task, space, "actions")
    if not np.issubdtype(box.dtype, np.floating):
        raise UserError(f"env.tasks: the actions of {task!r} are {box.dtype}, not continuous")
    if not finite_range(box).all():
        raise UserError(f"env.tasks: the actions of {task!r} have no bounds and cannot be scaled")
    return box


def _check_limit(task: str, limit: int | None) -> None:
    if limit is None or limit > MAX_HORIZON:
        own = "no time limit" if limit is None else f"a time limit of {limit} steps"
        raise UserError(
            f"env.max_episode_frames: {task} has {own}; set one of at most {MAX_HORIZON} steps"
        )
