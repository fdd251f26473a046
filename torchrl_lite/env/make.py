"""One maker for all suites, and the shapes of a set of tasks."""

from typing import Any, Protocol

import gymnasium as gym

from torchrl_lite.config import EnvConfig, nearest
from torchrl_lite.env import gymnasium, metaworld
from torchrl_lite.errors import UserError
from torchrl_lite.types import Spec


class Suite(Protocol):
    """What a module of this package offers; each checks the tasks it is asked for."""

    @property
    def make(self) -> type[gym.Env]:
        """Called with ``(task, seed=, horizon=, render_mode=, **options)``."""

    def options(self, config: EnvConfig) -> dict[str, Any]: ...

    def shape(self, task: str, config: EnvConfig) -> tuple[int, int]:
        """Sizes of the observation and of the action."""

    def horizon(self, task: str, config: EnvConfig) -> int:
        """The suite's own time limit of a task, in steps."""


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
    """One environment; ``horizon`` is its time limit in steps, None the suite's own.

    ``seed`` fixes what belongs to the task (on Meta-World its 50 goals, those of
    ``metaworld.MT1(task, seed=seed)``); an episode is fixed by
    ``reset(seed=s, options={"goal": j})`` and its actions. Options of ``metaworld``:
    ``num_goals``, ``reward_version``, ``fast``, ``camera``; of ``gymnasium``: ``imports``,
    ``camera``.

    Raises:
        UserError: no such suite, task or camera, or spaces that are not supported.
    """
    if suite not in _SUITES:
        raise UserError(f"env.suite: {suite!r} is not known{nearest(suite, _SUITES)}")
    maker: Any = _SUITES[suite].make
    return maker(task, seed=seed, horizon=horizon, render_mode=render_mode, **suite_options)


def make_task_env(
    config: EnvConfig, task: int, *, seed: int, render_mode: str | None = None, **options: Any
) -> gym.Env:
    """The environment of task number ``task`` of a configuration."""
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
    """The time limit of task number ``task``, in steps."""
    return config.max_episode_frames or _SUITES[config.suite].horizon(config.tasks[task], config)


def make_spec(config: EnvConfig) -> Spec:
    """Names and sizes of the configured tasks.

    Raises:
        UserError: a task does not exist, or its spaces are not supported.
    """
    shapes = [_SUITES[config.suite].shape(task, config) for task in config.tasks]
    obs_dims, act_dims = zip(*shapes, strict=True)
    return Spec(tuple(config.tasks), obs_dims, act_dims)
