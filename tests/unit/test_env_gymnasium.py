"""Gymnasium environments with continuous actions: scaling, episodes, what they may return."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict, Discrete
from helpers import error_of, make_learner, through_a_file
from numpy import ndarray

from torchrl_lite.collector.collector import Collector
from torchrl_lite.collector.setup import RolloutSetup
from torchrl_lite.config import EnvConfig
from torchrl_lite.env.make import make_env, make_spec, task_horizon
from torchrl_lite.errors import EpisodeError, UserError

ACTIONS, OBSERVATIONS = Box(-1, 1, (1,), np.float32), Box(-np.inf, np.inf, (3,), np.float64)
Register = Callable[..., str]
StepResult = tuple[Any, Any, Any, Any, Any]


class Toy(gym.Env):
    """Observes the step count, a number drawn at reset and the last action."""

    def __init__(
        self,
        action_space: gym.Space = ACTIONS,
        observation_space: gym.Space = OBSERVATIONS,
        observe: Callable[[ndarray, int], Any] = lambda values, _step: values,
        respond: Callable[..., StepResult] = lambda *result: result,
        render_mode: str | None = None,
    ) -> None:
        """``observe`` and ``respond`` turn plain numbers into what the agent receives."""
        self.action_space, self.observation_space = action_space, observation_space
        self.observe, self.respond, self.render_mode = observe, respond, render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.options = options
        self.values = np.array([0.0, 100 * self.np_random.random(), 0.0])
        return self.observe(self.values.copy(), 0), {}

    def step(self, action: ndarray) -> StepResult:
        self.action = action
        self.values += [1, 0, 0]
        self.values[2] = 10 * action[0]
        step = int(self.values[0])
        return self.respond(self.observe(self.values.copy(), step), float(step), False, False, {})


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Register:
    """Registers a `Toy` with the time limit ``limit`` and returns its id."""

    def add(name: str = "Toy-v0", limit: int | None = 5, entry: Any = Toy, **kwargs: Any) -> str:
        spec = EnvSpec(name, entry_point=entry, max_episode_steps=limit, kwargs=kwargs)
        monkeypatch.setitem(gym.registry, name, spec)
        return name

    return add


def rejection(task: str, **options: Any) -> str:
    return error_of(make_env, "gymnasium", task, **options)


def test_an_id_that_is_registered_again_has_the_new_sizes(toy: Register) -> None:
    """As in a notebook; a policy for the old sizes is rejected."""
    config = EnvConfig(suite="gymnasium", tasks=[toy()])
    old = make_spec(config)
    actor = make_learner("sac", old).actor
    toy(action_space=Box(-1, 1, (2,), np.float32))
    assert (old.act_dims, make_spec(config).act_dims) == ((1,), (2,))
    with pytest.raises(ValueError, match="actions should be size 2, got 1"):
        make_env("gymnasium", "Toy-v0").unwrapped.step(np.zeros(1, np.float32))
    with pytest.raises(EpisodeError, match=r"actions have shape \(2,\), not \(1,\)"):
        Collector(RolloutSetup(config, old, actor, 1), epoch_frames=1)


# --- actions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "action", "expected"),
    [
        ([-1], [1], [0.1], [0.1]),
        ([-45, 0], [45, 10], [1.0, -0.5], [45.0, 2.5]),
        ([-0.7], [0.3], [1.0], [0.3]),  # scaling alone gives a little more, from rounding
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_actions_are_scaled_to_their_bounds(
    toy: Register, low: list, high: list, action: list, expected: list, dtype: Any
) -> None:
    space = Box(np.array(low, dtype), np.array(high, dtype), dtype=dtype)
    env: Any = make_env("gymnasium", toy(action_space=space))
    env.reset(seed=0)
    env.step(np.array(action, np.float32))
    taken = env.unwrapped._env.unwrapped.action
    assert taken.dtype == dtype
    np.testing.assert_allclose(taken, expected, rtol=1e-6)
    assert space.contains(taken)


# --- episodes -------------------------------------------------------------------------------------


def test_goals_are_not_passed_to_an_environment_without_goals(toy: Register) -> None:
    env: Any = make_env("gymnasium", toy())
    for options, expected in (({"goal": 3}, None), ({"goal": 3, "low": -1}, {"low": -1})):
        env.reset(seed=0, options=options)
        assert env.unwrapped._env.unwrapped.options == expected


def test_a_constructor_without_arguments_is_enough(toy: Register) -> None:
    task = toy(entry=lambda: Toy())
    make_env("gymnasium", task).reset(seed=1)
    message = rejection(task, render_mode="rgb_array")
    assert "cannot be created with a picture" in message and "render_mode" in message


def test_a_constructor_that_exits_is_an_error_that_names_the_task(toy: Register) -> None:
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
        ({"action_space": Box(0, 9, (2,), np.int32)}, ["actions", "int32", "not continuous"]),
        ({"action_space": Box(np.array([0, -9]), np.inf)}, ["actions", "no bounds"]),
        ({"action_space": Box(-LARGEST, LARGEST, (2,))}, ["actions", "no bounds"]),
        ({"action_space": Box(-1, 1, (2, 2))}, ["actions", "(2, 2)"]),
        ({"observation_space": Box(-1, 1, (0,))}, ["observations", "(0,)"]),
        ({"observation_space": Box(0, 255, (8, 8), np.uint8)}, ["observations", "(8, 8)"]),
        ({"observation_space": Dict(a=Box(0, 1, (2,)))}, ["observations", "Dict"]),
    ],
)
def test_unsupported_spaces_are_one_line_errors(
    toy: Register, spaces: dict[str, gym.Space], needles: list[str]
) -> None:
    task = toy(**spaces)
    message = rejection(task)
    assert all(needle in message for needle in ["env.tasks", task, *needles])


def test_an_unknown_id_suggests_the_nearest() -> None:
    assert "did you mean 'HalfCheetah-v5'?" in rejection("HalfCheeta-v5")


@pytest.mark.parametrize(("limit", "hint"), [(None, "no time limit"), (10**9, "1000000000 steps")])
def test_a_task_without_a_time_limit_needs_one(toy: Register, limit: int | None, hint: str) -> None:
    message = rejection(toy(limit=limit))
    assert "env.max_episode_frames" in message and hint in message
    make_env("gymnasium", "Toy-v0", horizon=4)


# --- other packages -------------------------------------------------------------------------------


def test_a_failing_import_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the module exits. An id imports no module, unlike in Gymnasium."""
    (tmp_path / "foreign_script.py").write_text("import sys; sys.exit('usage')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for module, why in (("foreign_script", "(SystemExit: usage)"), ("no_such_package", "")):
        message = rejection("Foreign-v0", imports=[module])
        assert f"env.imports: {module!r} cannot be imported {why}" in message
    assert "name it in env.imports" in rejection("foreign_script:Foreign-v0")


def test_the_error_of_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sai_mujoco", None)
    with pytest.raises(UserError, match=r"env\.imports: 'sai_mujoco' .*pip install .*\[soccer\]"):
        make_spec(EnvConfig(suite="gymnasium", tasks=["Any-v0"], imports=["sai_mujoco"]))


def test_an_id_may_have_a_namespace(toy: Register) -> None:
    config = EnvConfig(suite="gymnasium", tasks=[toy("spaces/Toy-v0")])
    assert make_spec(config).obs_dim == 3
    assert "/" not in config.set_name


@pytest.mark.parametrize("task", ["../Toy-v0", "a//b", "a/b/c", "module:Toy-v0"])
def test_an_id_is_not_a_path_and_imports_no_module(task: str) -> None:
    with pytest.raises(ValueError, match=r"tasks: .*env\.imports" if ":" in task else "tasks"):
        EnvConfig(suite="gymnasium", tasks=[task])


# --- several tasks of different shapes ------------------------------------------------------------


def test_tasks_of_different_shapes_share_an_epoch() -> None:
    tasks = ["Pendulum-v1", "HalfCheetah-v5"]
    config = EnvConfig(
        suite="gymnasium", tasks=tasks, num_envs=4, group_size=3, max_episode_frames=10
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


# --- results in any form --------------------------------------------------------------------------


def collect(task: str) -> list[torch.Tensor]:
    """Eight random frames, then eight of a policy, after restoring the collector."""
    config = EnvConfig(suite="gymnasium", tasks=[task])
    spec = make_spec(config)
    actor = make_learner("td3", spec).actor
    warnings: list[str] = []
    blocks: list[torch.Tensor] = []
    state: Any = None
    for random in (True, False):
        setup = RolloutSetup(config, spec, actor, seed=1)
        with Collector(setup, epoch_frames=8, say=warnings.append) as collector:
            if state is not None:
                collector.load_state_dict(state)
            collector.submit(actor, [0], random=random)
            blocks += collector.result().block
            state = through_a_file(collector.state_dict())
    assert not warnings  # the interrupted episode continued
    return blocks


SHARED = np.zeros(3)
EQUIVALENT: dict[str, Callable[[ndarray, int], Any]] = {
    "list": lambda values, _: values.tolist(),
    "tensor": lambda values, _: torch.from_numpy(values),
    "objects": lambda values, _: values.astype(object),
    "other byte order": lambda values, _: values.astype(">f8"),
    "another dtype at reset": lambda values, step: values if step else values.astype(np.float32),
    "the same array": lambda values, _: np.copyto(SHARED, values) or SHARED,
}


def test_observations_may_have_any_numeric_form(toy: Register) -> None:
    expected = collect(toy())
    for form, observe in EQUIVALENT.items():
        assert all(map(torch.equal, collect(toy(observe=observe)), expected)), form


ENDS: dict[str, tuple[Callable[..., StepResult], list[int], list[float]]] = {
    "at once": (lambda obs, rew, _, cut, info: (obs, rew, True, cut, info), [1] * 8, [0.0] * 8),
    "at the time limit": (
        lambda obs, rew, _end, _cut, info: (obs, rew, rew == 5, rew == 5, info),
        [1, 2, 3, 4, 5, 1, 2, 3],
        [1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0],
    ),
    "truncated by the environment": (
        lambda obs, rew, end, _, info: (obs, rew, end, rew == 3, info),
        [1, 2, 3] * 2 + [1, 2],
        [1.0] * 8,
    ),
    "numpy scalars": (
        lambda obs, rew, _, cut, info: (obs, np.float32(rew), np.bool_(rew == 3), cut, info),
        [1, 2, 3] * 2 + [1, 2],
        [1.0, 1.0, 0.0] * 2 + [1.0, 1.0],
    ),
}


@pytest.mark.parametrize(("respond", "steps", "cont"), ENDS.values(), ids=ENDS.keys())
def test_only_termination_stops_bootstrapping(
    toy: Register, respond: Callable[..., StepResult], steps: list[int], cont: list[float]
) -> None:
    obs, _, rew, next_obs, collected, *_ = collect(toy(respond=respond))
    assert collected[0, :, 0].tolist() == cont
    assert rew[0, :, 0].tolist() == steps
    assert next_obs[0, :, 0, 0].tolist() == steps  # the true successor, also after the last step
    assert obs[0, :, 0, 0].tolist() == [step - 1 for step in steps]


INVALID: dict[str, tuple[Callable[..., StepResult], str]] = {
    "a list of rewards": (lambda obs, rew, *rest: (obs, [rew], *rest), "reward has shape (1,)"),
    "a reward as text": (lambda obs, _, *rest: (obs, "1", *rest), "the reward is '1'"),
    "no info": (lambda *a: (*a[:4], None), "NoneType"),
    "a short observation": (lambda obs, *rest: (obs[:2], *rest), "has shape (2,), not (3,)"),
    "an array as terminated": (lambda o, r, e, c, i: (o, r, np.array([e, e]), c, i), "truth value"),
    "four values": (lambda *a: a[:4], "4"),
    "an observation as text": (lambda _, *rest: (["a", "b", "c"], *rest), "could not convert"),
}


@pytest.mark.parametrize(("respond", "needle"), INVALID.values(), ids=INVALID.keys())
def test_an_invalid_result_names_the_environment(
    toy: Register, respond: Callable[..., StepResult], needle: str
) -> None:
    with pytest.raises(EpisodeError) as caught:
        collect(toy(respond=respond))
    assert str(caught.value).startswith("Toy-v0 (copy 0): ")
    assert needle in str(caught.value)
