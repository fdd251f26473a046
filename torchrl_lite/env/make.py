"""Environments of all suites, and the shapes of a set of tasks."""

from typing import Any, Protocol

import gymnasium as gym

from torchrl_lite.config import EnvConfig, nearest
from torchrl_lite.env import gymnasium, metaworld
from torchrl_lite.errors import UserError
from torchrl_lite.types import Spec


class Suite(Protocol):
    """The interface of a suite's module; every function checks the task name."""

    @property
    def make(self) -> type[gym.Env]:
        """Called with ``(task, seed=, horizon=, render_mode=, **options)``."""

    def options(self, config: EnvConfig) -> dict[str, Any]: ...

    def shape(self, task: str, config: EnvConfig) -> tuple[int, int]:
        """Sizes of the observation and the action."""

    def horizon(self, task: str, config: EnvConfig) -> int:
        """The suite's time limit of a task, in steps."""


_SUITES: dict[str, Suite] = {"metaworld": metaworld, "gymnasium": gymnasium}


def make_env(
    suite: str,
    task: str,
    *,
    seed: int = 1,
    horizon: int | None = None,
    render_mode: str | None = None,
    **suite_options: Any,
) -> gym.Env:
    """One environment; ``horizon`` is its time limit in steps (None: the suite's).

    ``seed`` determines what is fixed per task (on Meta-World the 50 goals of
    ``metaworld.MT1(task, seed=seed)``). An episode is determined by
    ``reset(seed=s, options={"goal": j})`` and its actions. Options of ``metaworld``:
    ``num_goals``, ``reward_version``, ``fast``, ``camera``, ``film_size``; of ``gymnasium``:
    ``imports``, ``camera``, ``film_size``.

    Raises:
        UserError: unknown suite, task or camera, or unsupported spaces.
    """
    if suite not in _SUITES:
        raise UserError(f"env.suite: {suite!r} is unknown{nearest(suite, _SUITES)}")
    maker: Any = _SUITES[suite].make
    return maker(task, seed=seed, horizon=horizon, render_mode=render_mode, **suite_options)


def make_task_env(
    config: EnvConfig, task: int, *, seed: int, render_mode: str | None = None, **options: Any
) -> gym.Env:
    """The environment of a configuration's task with index ``task``."""
    return make_env(
        config.suite,
        config.tasks[task],
        seed=seed,
        horizon=config.max_episode_frames,
        render_mode=render_mode,
        **_SUITES[config.suite].options(config),
        **options,
    )


def task_horizon(config: EnvConfig, task: int) -> int:
    """The time limit of the task with index ``task``, in steps."""
    return config.max_episode_frames or _SUITES[config.suite].horizon(config.tasks[task], config)


def make_spec(config: EnvConfig) -> Spec:
    """Names and sizes of the configured tasks.

    Raises:
        UserError: unknown task, or unsupported spaces.
    """
    shapes = [_SUITES[config.suite].shape(task, config) for task in config.tasks]
    obs_dims, act_dims = zip(*shapes, strict=True)
    return Spec(tuple(config.tasks), obs_dims, act_dims)
