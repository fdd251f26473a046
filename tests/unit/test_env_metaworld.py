"""The Meta-World environment is bit-identical to stock, with the multi-task protocol."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from helpers import error_of
from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
from stock import SEED, assert_same_episode, expert_actions, random_actions, stock_env

from torchrl_lite.env.make import make_env

FEW_TASKS = ["pick-place-v3", "peg-insert-side-v3"]

# Actions of Meta-World's experts leave the bounds; those passed to step are clipped.
pytestmark = pytest.mark.filterwarnings("ignore:Constant:UserWarning")


@pytest.mark.parametrize("task", FEW_TASKS)
def test_every_goal_gives_the_same_episode_as_stock_metaworld(task: str) -> None:
    """Also in a reused environment, and while another one steps."""
    env, other = (make_env("metaworld", task, seed=SEED) for _ in range(2))
    other.reset(seed=0, options={"goal": 2})
    for goal in (0, 7, 49, 7):
        actions = random_actions(40, seed=goal)
        assert_same_episode(env, stock_env(task, goal), goal, actions)
        other.step(-actions[0])


def test_a_solved_episode_ends_only_at_the_time_limit() -> None:
    """Meta-World's own limit is 500 steps; not even a solved state is terminal."""
    task = "drawer-close-v3"
    actions = expert_actions(task, 2, 500)
    env = make_env("metaworld", task, seed=SEED)
    steps = assert_same_episode(env, stock_env(task, 2), 2, actions)
    assert any(info["success"] for *_, info in steps)
    assert not any(terminated for _, _, terminated, _, _ in steps)
    assert [truncated for *_, truncated, _ in steps] == [False] * 499 + [True]


def test_horizon_replaces_the_time_limit_of_every_episode() -> None:
    env = make_env("metaworld", "reach-v3", horizon=7)
    for _ in range(2):
        env.reset()
        assert [env.step(action)[3] for action in random_actions(7)] == [False] * 6 + [True]


def test_types_and_spaces() -> None:
    env = make_env("metaworld", "pick-place-v3")
    env.reset()
    obs, reward, _, _, info = env.step(np.zeros(4, np.float32))
    assert env.observation_space.contains(obs)
    assert env.action_space == gym.spaces.Box(-1, 1, (4,), np.float32)
    assert type(reward) is type(info["success"]) is float
    assert info["task"] == "pick-place-v3"


def test_an_unknown_suite_or_task_is_rejected_with_suggestions() -> None:
    assert "'metawrld' is unknown; did you mean 'metaworld'?" in error_of(make_env, "metawrld", "x")
    assert "0 reach-v3, 1 push-v3" in error_of(make_env, "metaworld", "qqqq")


def test_reward_v1_equals_stock_v1() -> None:
    task, actions = "pick-place-v3", random_actions(40)
    env = make_env("metaworld", task, seed=SEED, reward_version="v1")
    steps = assert_same_episode(env, stock_env(task, 4, reward_function_version="v1"), 4, actions)
    v2 = stock_env(task, 4)
    v2.reset()
    rewards = [v2.step(action)[1] for action in actions]
    assert not np.isclose(rewards, [reward for _, reward, *_ in steps]).any()


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
        assert stock_env("reach-v3", goal).reset()[0].tobytes() == obs.tobytes()


def test_numpys_global_random_state_is_unchanged() -> None:
    np.random.seed(5)
    before = np.random.get_state()
    env = make_env("metaworld", "door-open-v3", seed=4321)  # no other test draws these goals
    env.reset(seed=0)
    env.step(np.zeros(4, np.float32))
    np.testing.assert_equal(np.random.get_state(), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reward": "Sparse"}, "make_env: reward: "),
        ({"reward_version": "v3"}, "make_env: reward_version: "),
        ({"num_goals": 60}, "make_env: num_goals: "),
        ({"horizon": 0}, "make_env: horizon: "),
        ({"hide_goals": True}, "make_env: 'hide_goals' is not an option; did you mean 'hide_goal'"),
    ],
)
def test_a_wrong_option_is_rejected(options: dict[str, Any], message: str) -> None:
    assert error_of(make_env, "metaworld", "push-v3", **options).startswith(message)


def test_options_may_be_numpys_integers() -> None:
    options: dict[str, Any] = {"horizon": np.int64(7), "num_goals": np.int64(2)}
    env = make_env("metaworld", "push-v3", **options)
    assert env.spec is not None and env.spec.max_episode_steps == 7
