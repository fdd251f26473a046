"""The fast Meta-World equals stock: every number, every type, every key of ``info``."""

import inspect
from typing import Any

import numpy as np
import pytest
from metaworld.env_dict import ALL_V3_ENVIRONMENTS, MT10_V3
from metaworld.policies import ENV_POLICY_MAP
from metaworld.sawyer_xyz_env import SawyerXYZEnv
from stock import SEED, mt1

from torchrl_lite.env.fast_sawyer import FastSawyer
from torchrl_lite.env.goals import goals
from torchrl_lite.env.make import make_env

ALL_TASKS = list(ALL_V3_ENVIRONMENTS)
TEN_TASKS = list(MT10_V3)
STILL = np.zeros(4, np.float32)


def fast_env(task: str, version: str = "v2") -> FastSawyer:
    stock, goal = ALL_V3_ENVIRONMENTS[task], goals(task, SEED)[0]
    return FastSawyer(stock, goal, reward_function_version=version)


def assert_equal_steps(fast: tuple[Any, ...], stock: tuple[Any, ...]) -> None:
    assert fast[0].dtype == stock[0].dtype
    assert fast[0].tobytes() == stock[0].tobytes()
    assert type(fast[1]) is type(stock[1])
    assert fast[1:] == stock[1:]
    assert list(fast[4]) == list(stock[4])


def assert_same_episodes(task: str, version: str, *, steps: int, goal_ids: list[int]) -> None:
    """First random actions, some of them float64 and out of bounds, then those of Meta-World's
    expert, which grasps and moves objects."""
    fast, expert = fast_env(task, version), ENV_POLICY_MAP[task]()
    stock: Any = ALL_V3_ENVIRONMENTS[task](reward_function_version=version)
    rng = np.random.default_rng(0)
    for scripted in (False, True):
        for goal in goal_ids:
            for env in (fast, stock):
                env.set_task(goals(task, SEED)[goal])
            obs = stock.reset()[0]
            assert fast.reset()[0].tobytes() == obs.tobytes()
            for step in range(steps):
                if step < 20 and not scripted:
                    action = rng.uniform(-2, 2, 4)
                else:
                    action = expert.get_action(obs) if scripted else rng.uniform(-1, 1, 4)
                    action = np.clip(action, -1, 1).astype(np.float32)
                transition = stock.step(action)
                assert_equal_steps(fast.step(action), transition)
                obs = transition[0]


# Actions of Meta-World's experts leave the bounds; those passed to step are clipped.
pytestmark = pytest.mark.filterwarnings("ignore:Constant:UserWarning")


@pytest.mark.parametrize("task", TEN_TASKS)
def test_the_mt10_tasks_equal_stock(task: str) -> None:
    assert_same_episodes(task, "v2", steps=80, goal_ids=[0, 31])


@pytest.mark.slow
@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("task", ALL_TASKS)
def test_all_50_tasks_equal_stock(task: str, version: str) -> None:
    assert_same_episodes(task, version, steps=500, goal_ids=[0, 7, 49, 7])


def test_a_step_outside_an_episode_is_rejected() -> None:
    env = fast_env("reach-v3")
    with pytest.raises(ValueError, match="reset"):
        env.step(STILL)
    env.max_path_length = 2
    env.reset()
    assert [env.step(STILL)[3] for _ in range(2)] == [False, True]
    with pytest.raises(ValueError, match="reset"):
        env.step(STILL)


def test_switching_to_a_task_with_a_hidden_goal_is_rejected() -> None:
    """Its observations would have different bounds."""
    env = fast_env("reach-v3")
    env.set_task(goals("reach-v3", SEED, hidden=True)[0])
    with pytest.raises(ValueError, match=r"reach-v3: hides its goal"):
        env.reset()


def test_an_action_of_the_wrong_size_is_rejected() -> None:
    env = fast_env("reach-v3")
    env.reset()
    with pytest.raises(ValueError, match="size 4, got 3"):
        env.step(np.zeros(3, np.float32))


def test_modifying_a_returned_observation_does_not_affect_the_environment() -> None:
    env = fast_env("push-v3")
    first = env.reset()[0]
    kept = first.copy()
    second = env.step(STILL)[0]
    first[:], second[:] = 7, 7
    third = env.step(STILL)[0]
    assert not np.isin(7, third)
    assert env.reset()[0].tobytes() == kept.tobytes()


def test_stock_metaworld_in_the_same_process_is_unchanged() -> None:
    """No global of its modules and no method changes."""
    modules = {inspect.getmodule(cls) for cls in (*ALL_V3_ENVIRONMENTS.values(), SawyerXYZEnv)}
    before = {module: dict(vars(module)) for module in modules}
    methods = dict(vars(SawyerXYZEnv))
    for task in TEN_TASKS[::4]:
        env = fast_env(task)
        env.reset()
        env.step(STILL)
    for module, names in before.items():
        assert all(vars(module)[name] is value for name, value in names.items())
    assert dict(vars(SawyerXYZEnv)) == methods


def test_rendering_and_fast_false_use_the_full_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "egl")
    for options in ({"render_mode": "rgb_array"}, {"fast": False}):
        env: Any = make_env("metaworld", "reach-v3", **options)
        assert type(env.unwrapped._env) is ALL_V3_ENVIRONMENTS["reach-v3"]
        assert env.unwrapped._env.model.ncam > 0
    assert make_env("metaworld", "reach-v3").render() is None


@pytest.mark.parametrize(
    "task", [*TEN_TASKS[1::4], *(pytest.param(task, marks=pytest.mark.slow) for task in ALL_TASKS)]
)
def test_goals_equal_those_of_the_benchmark(task: str) -> None:
    assert list(goals(task, 11)) == mt1(task, 11).train_tasks
