"""The Meta-World environment is the stock one to the last bit, by the multi-task protocol."""

from functools import cache
from typing import Any, NamedTuple

import gymnasium as gym
import metaworld
import numpy as np
import pytest
from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
from metaworld.policies import ENV_POLICY_MAP

from torchrl_lite.env.make import make_env
from torchrl_lite.errors import UserError

FEW_TASKS = ["reach-v3", "pick-place-v3", "drawer-close-v3", "peg-insert-side-v3"]
TWO_TASKS = FEW_TASKS[1::2]
SEED = 3

# Meta-World's experts ask for more than an action can be; what is stepped with is clipped.
pytestmark = pytest.mark.filterwarnings("ignore:Constant:UserWarning")


class Trace(NamedTuple):
    """Everything an episode returned, in the widest types."""

    obs: np.ndarray
    rewards: np.ndarray
    terminated: list[bool]
    truncated: list[bool]
    success: list[float]


def follow(env: Any, first_obs: np.ndarray, actions: np.ndarray) -> Trace:
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
    return follow(env, env.reset()[0], actions)


def our_trace(env: gym.Env, goal: int, actions: np.ndarray) -> Trace:
    return follow(env, env.reset(seed=0, options={"goal": goal})[0], actions)


def assert_same_bits(ours: Trace, stock: Trace) -> None:
    assert ours.obs.dtype == stock.obs.dtype == np.float64
    assert ours.obs.tobytes() == stock.obs.tobytes()
    assert ours.rewards.tobytes() == stock.rewards.tobytes()
    assert ours[2:] == stock[2:]


def scripted_actions(task: str, goal: int, steps: int) -> np.ndarray:
    """What Meta-World's own expert does: it solves the task."""
    env, expert = stock_env(task, goal), ENV_POLICY_MAP[task]()
    obs, actions = env.reset()[0], []
    for _ in range(steps):
        actions.append(np.clip(expert.get_action(obs), -1, 1).astype(np.float32))
        obs = env.step(actions[-1])[0]
    return np.array(actions)


@pytest.mark.parametrize("task", FEW_TASKS)
def test_every_goal_leads_where_stock_metaworld_leads(task: str) -> None:
    env = make_env("metaworld", task, seed=SEED)
    for goal in (0, 7, 49):
        actions = random_actions(40, seed=goal)
        assert_same_bits(our_trace(env, goal, actions), stock_trace(task, goal, actions))


def test_a_solved_episode_equals_stock_and_reports_success() -> None:
    actions = scripted_actions("drawer-close-v3", 2, 120)
    ours = our_trace(make_env("metaworld", "drawer-close-v3", seed=SEED), 2, actions)
    assert_same_bits(ours, stock_trace("drawer-close-v3", 2, actions))
    assert 1.0 in ours.success


def test_success_is_a_float() -> None:
    env = make_env("metaworld", "reach-v3", seed=SEED)
    env.reset(seed=0, options={"goal": 0})
    info = env.step(np.zeros(4, np.float32))[4]
    assert type(info["success"]) is float


def test_the_reward_is_a_plain_float() -> None:
    env = make_env("metaworld", "drawer-close-v3", seed=SEED)
    env.reset(seed=0, options={"goal": 0})
    assert type(env.step(np.zeros(4, np.float32))[1]) is float


@pytest.mark.parametrize("task", TWO_TASKS)
def test_observations_are_39_float64(task: str) -> None:
    env = make_env("metaworld", task, seed=SEED)
    first = env.reset(seed=0)[0]
    after = env.step(np.zeros(4, np.float32))[0]
    assert [(obs.shape, obs.dtype) for obs in (first, after)] == [((39,), np.float64)] * 2


def test_the_declared_spaces_are_those_of_the_steps() -> None:
    env = make_env("metaworld", "pick-place-v3", seed=SEED)
    env.reset(seed=0, options={"goal": 0})
    obs = env.step(np.zeros(4, np.float32))[0]
    assert env.observation_space.contains(obs)
    assert env.action_space == gym.spaces.Box(-1, 1, (4,), np.float32)


def test_the_time_limit_truncates_at_step_500_and_never_before() -> None:
    env = make_env("metaworld", "drawer-close-v3", seed=SEED)
    trace = our_trace(env, 0, random_actions(500))
    assert trace.truncated == [False] * 499 + [True]


def test_horizon_replaces_the_time_limit() -> None:
    env = make_env("metaworld", "reach-v3", seed=SEED, horizon=7)
    assert our_trace(env, 0, random_actions(7)).truncated == [False] * 6 + [True]


def test_horizon_holds_for_every_episode() -> None:
    env = make_env("metaworld", "reach-v3", seed=SEED, horizon=7)
    our_trace(env, 0, random_actions(7))
    assert our_trace(env, 1, random_actions(7)).truncated == [False] * 6 + [True]


def test_no_state_is_terminal_not_even_a_solved_one() -> None:
    actions = scripted_actions("drawer-close-v3", 2, 500)
    trace = our_trace(make_env("metaworld", "drawer-close-v3", seed=SEED), 2, actions)
    assert 1.0 in trace.success
    assert not any(trace.terminated)


@pytest.mark.parametrize("task", TWO_TASKS)
def test_the_goal_is_visible_in_the_last_three_features(task: str) -> None:
    trace = our_trace(make_env("metaworld", task, seed=SEED), 7, random_actions(3))
    stock = stock_env(task, 7)
    stock.reset()
    for obs in trace.obs:
        assert np.array_equal(obs[36:39], stock._target_pos)
        assert obs[36:39].any()


def test_reward_v1_equals_stock_v1() -> None:
    actions = random_actions(40)
    env = make_env("metaworld", "pick-place-v3", seed=SEED, reward_version="v1")
    stock = stock_trace("pick-place-v3", 4, actions, reward_version="v1")
    assert_same_bits(our_trace(env, 4, actions), stock)


def test_reward_v1_and_v2_differ_on_the_same_states() -> None:
    actions = random_actions(10)
    v1, v2 = (
        our_trace(
            make_env("metaworld", "pick-place-v3", seed=SEED, reward_version=version), 4, actions
        )
        for version in ("v1", "v2")
    )
    assert np.array_equal(v1.obs, v2.obs)
    assert not np.isclose(v1.rewards, v2.rewards).any()


@pytest.mark.parametrize("task", FEW_TASKS)
def test_one_goal_is_the_frozen_goal_of_garage(task: str) -> None:
    env = make_env("metaworld", task, seed=SEED, num_goals=1)
    frozen = ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{task}-goal-observable"](seed=SEED)
    for reset_seed in (0, 1, 2):
        assert env.reset(seed=reset_seed)[0].tobytes() == frozen.reset()[0].tobytes()


def test_a_goal_outside_num_goals_is_refused() -> None:
    env = make_env("metaworld", "reach-v3", seed=SEED, num_goals=5)
    with pytest.raises(ValueError):
        env.reset(seed=0, options={"goal": 5})


def test_num_goals_takes_the_first_of_the_fifty() -> None:
    few = make_env("metaworld", "reach-v3", seed=SEED, num_goals=5)
    actions = random_actions(3)
    assert_same_bits(our_trace(few, 4, actions), stock_trace("reach-v3", 4, actions))


def test_a_reset_without_a_goal_draws_one_from_its_seed() -> None:
    one, other = (make_env("metaworld", "reach-v3", seed=SEED) for _ in range(2))
    other.reset(seed=99)
    for seed in range(5):
        (obs, info), (same_obs, same_info) = one.reset(seed=seed), other.reset(seed=seed)
        assert info["goal"] == same_info["goal"]
        assert obs.tobytes() == same_obs.tobytes()


def test_a_drawn_goal_is_the_goal_of_that_number() -> None:
    env = make_env("metaworld", "reach-v3", seed=SEED)
    drawn, info = env.reset(seed=11)
    again, _ = env.reset(seed=0, options={"goal": info["goal"]})
    assert drawn.tobytes() == again.tobytes()


def test_different_reset_seeds_draw_different_goals() -> None:
    env = make_env("metaworld", "reach-v3", seed=SEED)
    assert len({env.reset(seed=seed)[1]["goal"] for seed in range(20)}) > 10


def test_drawn_goals_stay_below_num_goals() -> None:
    env = make_env("metaworld", "reach-v3", seed=SEED, num_goals=3)
    assert {env.reset(seed=seed)[1]["goal"] for seed in range(20)} == {0, 1, 2}


def test_a_given_goal_does_not_depend_on_the_reset_seed() -> None:
    env = make_env("metaworld", "pick-place-v3", seed=SEED)
    one, other = (env.reset(seed=seed, options={"goal": 3})[0] for seed in (1, 2))
    assert one.tobytes() == other.tobytes()


def test_different_seeds_of_the_environment_have_different_goals() -> None:
    one, other = (make_env("metaworld", "reach-v3", seed=seed) for seed in (SEED, SEED + 1))
    goal = {"goal": 0}
    assert not np.array_equal(
        one.reset(seed=0, options=goal)[0][36:], other.reset(seed=0, options=goal)[0][36:]
    )


@pytest.mark.parametrize("task", TWO_TASKS)
def test_a_used_environment_gives_the_bits_of_a_fresh_one(task: str) -> None:
    used, fresh = (make_env("metaworld", task, seed=SEED) for _ in range(2))
    our_trace(used, 8, random_actions(60, seed=1))
    our_trace(used, 3, random_actions(13, seed=2))
    actions = random_actions(40, seed=3)
    assert_same_bits(our_trace(used, 5, actions), our_trace(fresh, 5, actions))


def test_two_environments_do_not_disturb_each_other() -> None:
    one, other = (make_env("metaworld", "pick-place-v3", seed=SEED) for _ in range(2))
    actions = random_actions(20)
    observations = [one.reset(seed=0, options={"goal": 1})[0]]
    other.reset(seed=0, options={"goal": 2})
    for action in actions:
        observations.append(one.step(action)[0])
        other.step(-action)
    expected = stock_trace("pick-place-v3", 1, actions)
    assert np.array(observations).tobytes() == expected.obs.tobytes()


def test_numpys_global_random_state_stays_as_it_was() -> None:
    np.random.seed(5)
    before = np.random.get_state()
    env = make_env("metaworld", "door-open-v3", seed=4321)  # no other test draws these goals
    env.reset(seed=0)
    env.step(np.zeros(4, np.float32))
    after = np.random.get_state()
    assert np.array_equal(before[1], after[1])
    assert before[2:] == after[2:]


def test_numpys_global_random_state_does_not_matter() -> None:
    actions = random_actions(10)
    np.random.seed(1)
    one = our_trace(make_env("metaworld", "pick-place-v3", seed=SEED), 6, actions)
    np.random.seed(2)
    other = our_trace(make_env("metaworld", "pick-place-v3", seed=SEED), 6, actions)
    assert_same_bits(one, other)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("door-opn-v3", "door-open-v3"),
        ("reach-v2", "reach-v3"),
        ("reach", "reach-v3"),
        ("peg-insertion-side-v2", "peg-insert-side-v3"),
    ],
)
def test_an_unknown_task_is_refused_with_the_nearest_name(wrong: str, right: str) -> None:
    with pytest.raises(UserError, match=f"{wrong}.*{right}"):
        make_env("metaworld", wrong)


def test_a_task_like_no_other_is_refused_with_the_ten_of_mt10() -> None:
    with pytest.raises(UserError, match=r"0 reach-v3.*9 window-close-v3"):
        make_env("metaworld", "qqqq")


def test_an_unknown_suite_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"metawrld.*metaworld"):
        make_env("metawrld", "reach-v3")


@pytest.mark.parametrize("goal", [-1, 50])
def test_a_goal_that_does_not_exist_is_refused(goal: int) -> None:
    env = make_env("metaworld", "reach-v3")
    with pytest.raises(ValueError, match=f"goal {goal}"):
        env.reset(seed=0, options={"goal": goal})
