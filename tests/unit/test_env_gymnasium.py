"""Gymnasium environments with continuous actions: scaling, episodes, unsupported spaces."""

import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict, Discrete
from helpers import error_of, make_learner
from numpy import ndarray

from torchrl_lite.collector.collector import Collector
from torchrl_lite.collector.setup import RolloutSetup
from torchrl_lite.config import EnvConfig
from torchrl_lite.env.make import make_env, make_spec, task_horizon
from torchrl_lite.errors import EpisodeError, UserError

ACTIONS, OBSERVATIONS = Box(-1, 1, (1,), np.float32), Box(-np.inf, np.inf, (2,), np.float64)


class Toy(gym.Env):
    """Remembers its last action and reset options."""

    def __init__(
        self,
        action_space: gym.Space = ACTIONS,
        observation_space: gym.Space = OBSERVATIONS,
        render_mode: str | None = None,
    ) -> None:
        self.action_space, self.observation_space = action_space, observation_space
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[ndarray, dict]:
        super().reset(seed=seed)
        self.options = options
        return np.zeros(2), {}

    def step(self, action: ndarray) -> tuple[ndarray, float, bool, bool, dict]:
        self.action = action
        return np.zeros(2), 1.0, False, False, {}


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Registers a `Toy` with the time limit ``limit`` and returns its id."""

    def add(name: str = "Toy-v0", limit: int | None = 5, entry: Any = Toy, **kwargs: Any) -> str:
        spec = EnvSpec(name, entry_point=entry, max_episode_steps=limit, kwargs=kwargs)
        monkeypatch.setitem(gym.registry, name, spec)
        return name

    return add


def rejection(task: str, **options: Any) -> str:
    return error_of(make_env, "gymnasium", task, **options)


def test_an_id_that_is_registered_again_has_the_new_sizes(toy: Any) -> None:
    """As in a notebook; a policy for the old sizes is rejected."""
    config = EnvConfig(suite="gymnasium", tasks=[toy()])
    old = make_spec(config)
    actor = make_learner("sac", old).actor
    toy(action_space=Box(-1, 1, (2,), np.float32))
    assert (old.act_dims, make_spec(config).act_dims) == ((1,), (2,))
    env = make_env("gymnasium", "Toy-v0")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="actions should be size 2, got 1"):
        env.step(np.zeros(1, np.float32))
    with pytest.raises(EpisodeError, match=r"actions have shape \(2,\), not \(1,\)"):
        Collector(RolloutSetup(config, old, actor, 1), epoch_frames=1)


# --- actions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "action", "expected"),
    [
        ([-1], [1], [0.1], [0.1]),
        ([-45, -30], [45, 30], [1.0, -0.5], [45.0, -15.0]),
        ([0, -1], [10, 3], [-1.0, 0.0], [0.0, 1.0]),
    ],
)
def test_actions_are_scaled_to_their_bounds(
    toy: Any, low: list, high: list, action: list, expected: list
) -> None:
    space = Box(np.array(low, np.float32), np.array(high, np.float32))
    env = make_env("gymnasium", toy(action_space=space))
    env.reset(seed=0)
    env.step(np.array(action, np.float32))
    taken = env.unwrapped._env.unwrapped.action
    assert taken.dtype == np.float32
    np.testing.assert_allclose(taken, expected, rtol=1e-6)
    assert space.contains(taken)


def test_a_rounded_action_stays_within_bounds(toy: Any) -> None:
    low, high = -0.7, 0.3
    assert (low + high) / 2 + (high - low) / 2 > high
    env = make_env("gymnasium", toy(action_space=Box(low, high, (1,), np.float64)))
    env.reset(seed=0)
    env.step(np.ones(1, np.float32))
    assert env.unwrapped._env.unwrapped.action == [high]


# --- episodes -------------------------------------------------------------------------------------


def test_goals_are_not_passed_to_an_environment_without_goals(toy: Any) -> None:
    env = make_env("gymnasium", toy())
    for options, expected in (({"goal": 3}, None), ({"goal": 3, "low": -1}, {"low": -1})):
        env.reset(seed=0, options=options)
        assert env.unwrapped._env.unwrapped.options == expected


def test_a_constructor_without_arguments_is_enough(toy: Any) -> None:
    task = toy(entry=lambda: Toy())
    make_env("gymnasium", task).reset(seed=1)
    assert "render_mode" in rejection(task, render_mode="rgb_array")


def test_a_constructor_that_exits_is_an_error_that_names_the_task(toy: Any) -> None:
    task = toy(entry=lambda **_: sys.exit("first\nsecond"))
    assert task in rejection(task)


def test_a_null_time_limit_means_the_tasks_own() -> None:
    config = EnvConfig(suite="gymnasium", tasks=["Pendulum-v1", "HalfCheetah-v5"], num_envs=2)
    assert [task_horizon(config, task) for task in (0, 1)] == [200, 1000]
    assert task_horizon(config.model_copy(update={"max_episode_frames": 7}), 0) == 7
    assert task_horizon(EnvConfig(tasks=["reach-v3"]), 0) == 500


# --- unsupported environments ---------------------------------------------------------------------


LARGEST = np.finfo(np.float32).max


@pytest.mark.parametrize(
    ("spaces", "needles"),
    [
        ({"action_space": Discrete(3)}, ["actions", "Discrete", "Box"]),
        ({"action_space": Box(-1, 1, (2, 2))}, ["actions", "(2, 2)"]),
        ({"action_space": Box(0, 9, (2,), np.int32)}, ["actions", "int32", "not continuous"]),
        ({"action_space": Box(np.array([0, -9]), np.inf)}, ["actions", "no bounds"]),
        ({"action_space": Box(-LARGEST, LARGEST, (2,))}, ["actions", "no bounds"]),
        ({"observation_space": Box(-1, 1, (0,))}, ["observations", "(0,)"]),
        ({"observation_space": Box(0, 255, (8, 8, 3), np.uint8)}, ["observations", "(8, 8, 3)"]),
        ({"observation_space": Dict(a=Box(0, 1, (2,)))}, ["observations", "Dict"]),
    ],
)
def test_unsupported_spaces_are_one_line_errors(
    toy: Any, spaces: dict[str, gym.Space], needles: list[str]
) -> None:
    task = toy(**spaces)
    message = rejection(task)
    assert all(needle in message for needle in ["env.tasks", task, *needles])


def test_an_unknown_id_suggests_the_nearest() -> None:
    assert "did you mean 'HalfCheetah-v5'?" in rejection("HalfCheeta-v5")


@pytest.mark.parametrize(("limit", "hint"), [(None, "no time limit"), (10**9, "1000000000 steps")])
def test_a_task_without_a_time_limit_needs_one(toy: Any, limit: int | None, hint: str) -> None:
    task = toy(limit=limit)
    message = rejection(task)
    assert "env.max_episode_frames" in message
    assert hint in message
    assert make_env("gymnasium", task, horizon=4).reset(seed=0)[0].shape == (2,)


# --- other packages -------------------------------------------------------------------------------


def test_a_failing_import_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the module exits. An id imports no module, unlike in Gymnasium."""
    (tmp_path / "foreign_script.py").write_text("import sys; sys.exit('usage')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for module, why in (("foreign_script", "(SystemExit: usage)"), ("no_such_package", "")):
        message = rejection("Foreign-v0", imports=[module])
        assert f"env.imports: {module!r} cannot be imported {why}" in message
    assert "not a registered Gymnasium id" in rejection("foreign_script:Foreign-v0")


def test_the_error_of_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sai_mujoco", None)
    with pytest.raises(UserError, match=r"env\.imports: 'sai_mujoco' .*pip install .*\[soccer\]"):
        make_spec(EnvConfig(suite="gymnasium", tasks=["Any-v0"], imports=["sai_mujoco"]))


def test_an_id_may_have_a_namespace(toy: Any) -> None:
    config = EnvConfig(suite="gymnasium", tasks=[toy("spaces/Toy-v0")])
    assert make_spec(config).obs_dim == 2
    assert "/" not in config.set_name


@pytest.mark.parametrize("task", ["../Toy-v0", "a//b", "a/b/c", "module:Toy-v0"])
def test_an_id_is_not_a_path_and_imports_no_module(task: str) -> None:
    with pytest.raises(ValueError, match=r"tasks: .*env\.imports" if ":" in task else "tasks"):
        EnvConfig(suite="gymnasium", tasks=[task])


# --- several tasks of different shapes ------------------------------------------------------------


def test_tasks_of_different_shapes_share_an_epoch() -> None:
    config = EnvConfig(
        suite="gymnasium",
        tasks=["Pendulum-v1", "HalfCheetah-v5"],
        num_envs=4,
        group_size=3,
        max_episode_frames=10,
    )
    spec = make_spec(config)
    actor = make_learner("sac", spec).actor
    with Collector(RolloutSetup(config, spec, actor, seed=1), epoch_frames=25) as collector:
        evaluated = collector.evaluate(actor, [1, 0], 3)
        collector.submit(actor, [0, 1], random=False)
        block, episodes, _ = collector.result()
        assert [stats.task for stats in episodes] == [0] * 4 + [1] * 4
    assert sorted(stats.task for stats in evaluated) == [0, 0, 0, 1, 1, 1]
    assert {stats.success for stats in [*episodes, *evaluated]} == {None}
    for tensor, size in ((block.obs, 3), (block.next_obs, 3), (block.act, 1)):
        assert (tensor[0, ..., size:] == 0).all()
        assert (tensor[..., :size].flatten(0, 2).std(0) > 0).all()
    assert torch.equal(block.obs[:, 1:9], block.next_obs[:, :8])  # within an episode
    assert block.act.abs().max() <= 1
