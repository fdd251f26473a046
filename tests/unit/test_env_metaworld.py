"""The Meta-World environment is bit-identical to stock, with the multi-task protocol."""

from functools import cache
from typing import Any, NamedTuple

import gymnasium as gym
import metaworld
import numpy as np
import pytest
from helpers import error_of
from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
from metaworld.policies import ENV_POLICY_MAP

from torchrl_lite.env.make import make_env

FEW_TASKS = ["pick-place-v3", "peg-insert-side-v3"]
SEED = 3

# Actions of Meta-World's experts leave the bounds; those passed to step are clipped.
pytestmark = pytest.mark.filterwarnings("ignore:Constant:UserWarning")


class Trace(NamedTuple):
    """Everything an episode returned, in the widest types."""

    obs: np.ndarray
    rewards: np.ndarray
    terminated: list[bool]
    truncated: list[bool]
    success: list[float]


def rollout(env: Any, first_obs: np.ndarray, actions: np.ndarray) -> Trace:
    observations, rewards, terminated, truncated, success = [first_obs], [], [], [], []
    for action in actions:
        obs, reward, ended, cut, info = env.step(action)
        observations.append(obs)
        rewards.append(float(reward))
        terminated.append(bool(ended))
        truncated.append(bool(cut))
        success.append(float(info["success"]))
    return Trace(np.array(observations), np.array(rewards), terminated, truncated, success)


def random_actions(steps: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (steps, 4)).astype(np.float32)


@cache
def stock_benchmark(task: str, seed: int = SEED) -> metaworld.MT1:
    return metaworld.MT1(task, seed=seed)


def stock_env(task: str, goal: int, *, seed: int = SEED, reward_version: str = "v2") -> Any:
    benchmark = stock_benchmark(task, seed)
    env = benchmark.train_classes[task](reward_function_version=reward_version)
    env.set_task(benchmark.train_tasks[goal])
    return env


def stock_trace(task: str, goal: int, actions: np.ndarray, **options: Any) -> Trace:
    env = stock_env(task, goal, **options)
    return rollout(env, env.reset()[0], actions)


def our_trace(env: gym.Env, goal: int, actions: np.ndarray) -> Trace:
    return rollout(env, env.reset(seed=0, options={"goal": goal})[0], actions)


def assert_same_bits(ours: Trace, stock: Trace) -> None:
    assert ours.obs.dtype == stock.obs.dtype == np.float64
    assert ours.obs.tobytes() == stock.obs.tobytes()
    assert ours.rewards.tobytes() == stock.rewards.tobytes()
    assert ours[2:] == stock[2:]


def scripted_actions(task: str, goal: int, steps: int) -> np.ndarray:
    """The actions of Meta-World's own expert, which solves the task."""
    env, expert = stock_env(task, goal), ENV_POLICY_MAP[task]()
    obs, actions = env.reset()[0], []
    for _ in range(steps):
        actions.append(np.clip(expert.get_action(obs), -1, 1).astype(np.float32))
        obs = env.step(actions[-1])[0]
    return np.array(actions)


@pytest.mark.parametrize("task", FEW_TASKS)
def test_every_goal_gives_the_same_episode_as_stock_metaworld(task: str) -> None:
    """Also in a reused environment, and while another one steps."""
    env, other = (make_env("metaworld", task, seed=SEED) for _ in range(2))
    other.reset(seed=0, options={"goal": 2})
    for goal in (0, 7, 49, 7):
        actions = random_actions(40, seed=goal)
        assert_same_bits(our_trace(env, goal, actions), stock_trace(task, goal, actions))
        other.step(-actions[0])


def test_a_solved_episode_ends_only_at_the_time_limit() -> None:
    """Meta-World's own limit is 500 steps; not even a solved state is terminal."""
    actions = scripted_actions("drawer-close-v3", 2, 500)
    trace = our_trace(make_env("metaworld", "drawer-close-v3", seed=SEED), 2, actions)
    assert 1.0 in trace.success
    assert not any(trace.terminated)
    assert trace.truncated == [False] * 499 + [True]


def test_horizon_replaces_the_time_limit_of_every_episode() -> None:
    env = make_env("metaworld", "reach-v3", seed=SEED, horizon=7)
    for goal in (0, 1):
        assert our_trace(env, goal, random_actions(7)).truncated == [False] * 6 + [True]


def test_types_and_spaces() -> None:
    env = make_env("metaworld", "pick-place-v3", seed=SEED)
    env.reset(seed=0, options={"goal": 0})
    obs, reward, _, _, info = env.step(np.zeros(4, np.float32))
    assert env.observation_space.contains(obs) and obs.dtype == np.float64
    assert env.action_space == gym.spaces.Box(-1, 1, (4,), np.float32)
    assert type(reward) is type(info["success"]) is float
    assert info["task"] == "pick-place-v3"


def test_an_unknown_suite_or_task_is_rejected_with_suggestions() -> None:
    assert "'metawrld' is unknown; did you mean 'metaworld'?" in error_of(make_env, "metawrld", "x")
    assert "0 reach-v3, 1 push-v3" in error_of(make_env, "metaworld", "qqqq")


def test_reward_v1_equals_stock_v1() -> None:
    actions = random_actions(40)
    env = make_env("metaworld", "pick-place-v3", seed=SEED, reward_version="v1")
    ours, stock = our_trace(env, 4, actions), stock_trace("pick-place-v3", 4, actions)
    assert not np.isclose(ours.rewards, stock.rewards).any()
    stock = stock_trace("pick-place-v3", 4, actions, reward_version="v1")
    assert_same_bits(ours, stock)


@pytest.mark.parametrize("task", FEW_TASKS)
def test_a_single_goal_is_garages_frozen_goal(task: str) -> None:
    env = make_env("metaworld", task, seed=SEED, num_goals=1)
    frozen = ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{task}-goal-observable"](seed=SEED)
    for reset_seed in (0, 1, 2):
        assert env.reset(seed=reset_seed)[0].tobytes() == frozen.reset()[0].tobytes()


def test_a_reset_draws_one_of_the_first_goals_from_its_seed() -> None:
    one, other = (make_env("metaworld", "reach-v3", seed=SEED, num_goals=3) for _ in range(2))
    drawn = {}
    for seed in range(20):
        obs, info = one.reset(seed=seed)
        assert other.reset(seed=seed)[1]["goal"] == info["goal"]
        assert drawn.setdefault(info["goal"], obs).tobytes() == obs.tobytes()
    assert drawn.keys() == {0, 1, 2}
    for goal, obs in drawn.items():
        assert other.reset(seed=99, options={"goal": goal})[0].tobytes() == obs.tobytes()
        assert stock_env("reach-v3", goal).reset()[0].tobytes() == obs.tobytes()


def test_numpys_global_random_state_is_unchanged() -> None:
    np.random.seed(5)
    before = np.random.get_state()
    env = make_env("metaworld", "door-open-v3", seed=4321)  # no other test draws these goals
    env.reset(seed=0)
    env.step(np.zeros(4, np.float32))
    after = np.random.get_state()
    assert np.array_equal(before[1], after[1])
    assert before[2:] == after[2:]
