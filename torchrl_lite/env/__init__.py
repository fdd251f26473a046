"""Environments: one maker for all suites, and the shapes of a set of tasks."""

from typing import Any

import gymnasium as gym
import torch

from torchrl_lite.config import ConfigError, EnvConfig, nearest
from torchrl_lite.env import metaworld
from torchrl_lite.types import Spec

_SUITES = {"metaworld": metaworld}


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
    ``num_goals``, ``reward_version``, ``fast``, ``camera``.

    Raises:
        ConfigError: no such suite or task.
    """
    if suite not in _SUITES:
        raise ConfigError(f"env.suite: {suite!r} is not known{nearest(suite, _SUITES)}")
    return _SUITES[suite].MetaWorldEnv(
        task, seed=seed, horizon=horizon, render_mode=render_mode, **suite_options
    )


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
        num_goals=config.num_goals,
        reward_version=config.reward_version,
        fast=config.fast,
        **options,
    )


def make_spec(config: EnvConfig) -> Spec:
    """Shapes and masks of the configured tasks, without building an environment.

    Raises:
        ConfigError: a task does not exist.
    """
    for task in config.tasks:
        metaworld.check_task(task, "env.tasks")
    rows = len(config.tasks)
    return Spec(
        tasks=tuple(config.tasks),
        obs_mask=torch.ones(rows, metaworld.OBS_DIM),
        act_mask=torch.ones(rows, metaworld.ACT_DIM),
    )
