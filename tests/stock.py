"""Stock Meta-World, which ours must equal."""

from collections.abc import Iterable
from functools import cache
from typing import Any

import gymnasium as gym
import metaworld
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.policies import ENV_POLICY_MAP

SEED = 3
"""Of the goals, unless a test says otherwise."""


@cache
def mt1(task: str, seed: int = SEED) -> metaworld.MT1:
    return metaworld.MT1(task, seed=seed)


def stock_env(task: str, goal: int | metaworld.Task, **options: Any) -> Any:
    """``goal``: a number of MT1's, or one of another benchmark."""
    env = ALL_V3_ENVIRONMENTS[task](**options)
    env.set_task(mt1(task).train_tasks[goal] if isinstance(goal, int) else goal)
    return env


def expert_actions(task: str, goal: int, steps: int) -> list[np.ndarray]:
    """Those of Meta-World's own expert, which solves the task."""
    env, expert = stock_env(task, goal), ENV_POLICY_MAP[task]()
    obs, actions = env.reset()[0], []
    for _ in range(steps):
        actions.append(np.clip(expert.get_action(obs), -1, 1).astype(np.float32))
        obs = env.step(actions[-1])[0]
    return actions


def random_actions(steps: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (steps, 4)).astype(np.float32)


def assert_same_episode(
    ours: gym.Env, stock: Any, goal: int, actions: Iterable[np.ndarray]
) -> list[tuple[Any, ...]]:
    """Asserts that ours on this goal is bit-identical to stock; returns the transitions."""
    first, expected = ours.reset(seed=0, options={"goal": goal})[0], stock.reset()[0]
    assert first.dtype == expected.dtype == np.float64
    assert first.tobytes() == expected.tobytes()
    transitions = []
    for action in actions:
        mine, other = ours.step(action), stock.step(action)
        assert mine[0].dtype == np.float64
        assert mine[0].tobytes() == other[0].tobytes()
        assert mine[1:4] == other[1:4]
        assert mine[4]["success"] == other[4]["success"]
        transitions.append(mine)
    return transitions
