"""Wrappers given by name match Gymnasium's around stock Meta-World, and runs resume in them."""

import json
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control import PendulumEnv
from stock import SEED, random_actions, stock_env
from tiny_runs import assert_same_run, one_line, result_of, run_starter, short, train

from torchrl_lite import load_config, register_wrapper
from torchrl_lite.command.launch import main
from torchrl_lite.config import WrapperConfig
from torchrl_lite.env import wrappers
from torchrl_lite.env.make import make_env
from torchrl_lite.errors import UserError
from torchrl_lite.policies.evaluate import evaluate
from torchrl_lite.policies.load import load_policy

TASK = "drawer-close-v3"
FRAMES = {"name": "FrameStackObservation", "stack_size": 4}
TIME = {"name": "TimeAwareObservation", "normalize_time": True}


@pytest.fixture(autouse=True)
def restore_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrappers, "_registered", dict(wrappers._registered))


def stock(goal: int) -> Any:
    """Stock Meta-World with a visible goal and Gymnasium's time limit."""
    env = stock_env(TASK, goal)
    env.observation_space = env.sawyer_observation_space  # by default that of a hidden goal
    return gym.wrappers.TimeLimit(env, 500)


def both(env: gym.Env) -> gym.Env:
    frames = gym.wrappers.FrameStackObservation(env, 4, padding_type="zero")
    flat: gym.Env = gym.wrappers.FlattenObservation(frames)
    return gym.wrappers.TimeAwareObservation(flat, normalize_time=True)


@pytest.mark.parametrize(
    ("names", "wrap", "size"),
    [
        (["TimeAwareObservation"], gym.wrappers.TimeAwareObservation, 40),
        ([FRAMES], lambda env: gym.wrappers.FrameStackObservation(env, 4), 156),
        ([FRAMES | {"padding_type": "zero"}, TIME], both, 157),
    ],
    ids=["steps", "frames", "both"],
)
def test_wrappers_match_gymnasiums_around_stock_metaworld(names: Any, wrap: Any, size: int) -> None:
    """Also in a second episode: a reset clears what they store."""
    ours = make_env("metaworld", TASK, seed=SEED, wrappers=names)
    assert ours.observation_space.shape == (size,)
    ours.reset(seed=0, options={"goal": 9})
    for action in random_actions(5):
        ours.step(action)

    plain = wrap(stock(2))
    first, _ = ours.reset(seed=0, options={"goal": 2})
    assert np.array_equal(first, np.ravel(plain.reset()[0]))
    for action in random_actions(30):
        mine, other = ours.step(action), plain.step(action)
        assert np.array_equal(mine[0], np.ravel(other[0]))
        assert mine[1:4] == other[1:4]
        assert mine[4]["success"] == other[4]["success"]


def test_the_share_of_time_ends_at_the_configured_time_limit() -> None:
    env = make_env("metaworld", TASK, seed=SEED, horizon=4, wrappers=[TIME])
    shares = [env.reset(seed=0)[0][-1], *(env.step(act)[0][-1] for act in random_actions(4))]
    assert shares == [0, 0.25, 0.5, 0.75, 1]


def test_rescaling_matches_gymnasiums_where_there_are_bounds() -> None:
    scale = {"name": "RescaleObservation", "min_obs": -3, "max_obs": 2}
    ours = make_env("gymnasium", "Pendulum-v1", wrappers=[scale])
    theirs = gym.wrappers.RescaleObservation(gym.make("Pendulum-v1"), np.float32(-3), np.float32(2))
    assert ours.reset(seed=5)[0] == pytest.approx(theirs.reset(seed=5)[0], abs=1e-6)

    arm, plain = make_env("metaworld", TASK, wrappers=[scale]), make_env("metaworld", TASK)
    raw, scaled = (env.reset(seed=0, options={"goal": 0})[0] for env in (plain, arm))
    space: Any = plain.observation_space
    bounded = np.isfinite(space.low) & (space.low < space.high)
    assert 8 <= bounded.sum() < 39
    part = (raw - space.low)[bounded] / (space.high - space.low)[bounded]
    assert scaled[bounded] == pytest.approx(5 * part - 3)
    assert (scaled[~bounded] == raw[~bounded]).all()


def potential(
    obs: Any, action: Any, next_obs: Any, reward: float, info: dict[str, Any], weight: float = 1.0
) -> float:
    """A user's reward shaping, which also tries to set the success."""
    info["success"] = 1.0
    return reward + weight * float(next_obs[0] - obs[0]) - float(np.square(action).sum())


def test_the_largest_float_does_not_count_as_a_bound() -> None:
    env = PendulumEnv()
    high = np.array([1, 1, np.finfo(np.float32).max], np.float32)
    env.observation_space = gym.spaces.Box(-high, high)
    rescaled = wrappers.wrapped(env, [WrapperConfig(name="RescaleObservation")])
    assert rescaled.reset(seed=5)[0] == pytest.approx(env.reset(seed=5)[0])


def test_a_registered_function_shapes_rewards_but_not_success() -> None:
    register_wrapper("Potential", reward=potential)
    env = make_env("metaworld", TASK, seed=SEED, wrappers=[{"name": "Potential", "weight": 7.0}])
    env.reset(seed=0, options={"goal": 2})
    plain = stock(2)
    obs = plain.reset()[0]
    for action in random_actions(20):
        next_obs, reward, _, _, info = plain.step(action)
        mine = env.step(action)
        expected = float(reward) + 7 * (next_obs[0] - obs[0]) - np.square(action).sum()
        assert mine[1] == pytest.approx(expected)
        assert mine[4]["success"] == float(info["success"]) == 0.0
        obs = next_obs


def test_a_wrapper_gets_whole_numbers_as_indices() -> None:
    register_wrapper("Keep", lambda env, keep: gym.wrappers.TransformObservation(
        env, lambda obs: obs[keep], gym.spaces.Box(-1, 1, (len(keep),), np.float64)
    ))  # fmt: skip
    env, plain = (make_env("metaworld", TASK, wrappers=given) for given in (
        [{"name": "Keep", "keep": [3, 1]}], ()
    ))  # fmt: skip
    assert np.array_equal(env.reset(seed=5)[0], plain.reset(seed=5)[0][[3, 1]])
    config = load_config(
        {"env": {"tasks": [TASK], "wrappers": [{"name": "Keep", "keep": [1.0, 3]}]}}
    )
    (given,) = config.env.wrappers
    assert [*map(type, given.arguments["keep"])] == [int, int], "as make_env gives them"
    timed = make_env("metaworld", TASK, wrappers="TimeAwareObservation")  # a bare name
    assert timed.observation_space.shape == (40,)


class OneArray(PendulumEnv):
    """Counts steps in an array that it returns every time."""

    counted = np.zeros(1)

    def reset(self, **_: Any) -> Any:
        return self.counted, {}

    def step(self, _: Any) -> Any:
        self.counted += 1
        return self.counted, 0.0, False, False, {}


def test_shaping_sees_the_observation_before_the_step() -> None:
    env = wrappers.ShapedReward(potential, OneArray())
    env.reset()
    assert [env.step(np.zeros(1))[1] for _ in range(3)] == [1, 1, 1]


class Upside(gym.ActionWrapper):
    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.action_space = gym.spaces.Box(-2, 2, (4,))


@pytest.mark.parametrize(
    ("wrapper", "words"),
    [
        ("FrameStackObservatoin", ["did you mean 'FrameStackObservation'", "env.imports"]),
        ({"name": "Potential", "wieght": 1}, ["Potential", "wieght"]),
        ("Upside", ["'Upside' changes the actions"]),
        ("Nothing", ["'Nothing' cannot be applied", "no gymnasium.Env"]),
        ({"stack_size": 4}, ["wrappers", "name: is missing"]),
        ({"name": "Potential", "weight": {"a": 1}}, ['weight: {"a": 1} is not allowed']),
        ({"name": "Potential", "weight": ["a"]}, ['weight: ["a"] is not allowed', "argument"]),
    ],
)
def test_invalid_wrappers_are_rejected(
    wrapper: Any, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register_wrapper("Potential", reward=potential)
    register_wrapper("Upside", Upside)
    register_wrapper("Nothing", lambda _: None)  # type: ignore[arg-type,return-value]
    flags = short(tmp_path, "--task", TASK, env__wrappers=[wrapper])
    assert main("sac", flags) == 2
    one_line(capsys.readouterr().err, "env.wrappers", *words)
    assert not list(tmp_path.iterdir())


def test_nested_frame_stacks_are_limited_together() -> None:
    frames = FRAMES | {"stack_size": 64}
    with pytest.raises(UserError, match="stack_size 64 times 159744 numbers is above 1048576"):
        make_env("metaworld", TASK, wrappers=[frames] * 3)


def test_invalid_registrations_are_rejected() -> None:
    for name in ("TimeAwareObservation", "two words", ""):
        with pytest.raises(UserError, match="register_wrapper"):
            register_wrapper(name, Upside)
    for given in ({"make": Upside, "reward": potential}, {}):
        with pytest.raises(TypeError, match="either"):
            register_wrapper("Wrong", **given)


MODULE = """
from torchrl_lite import load_config, register_wrapper

def shaped(obs, action, next_obs, reward, info, weight):
    return reward + weight * float(next_obs[0] - obs[0])

register_wrapper("Shaped", reward=shaped)
"""
WRAPPERS = ["TimeAwareObservation", FRAMES, {"name": "Shaped", "weight": 0.5}]


def test_a_run_resumes_exactly_and_its_policy_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the middle of an episode; the module is in the current directory."""
    (tmp_path / "wrappers_of_a_test.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    changes: dict[str, Any] = {"env__imports": ["wrappers_of_a_test"], "env__wrappers": WRAPPERS}
    full = train(tmp_path / "whole", "--task", TASK, **changes)
    parts = short(tmp_path / "parts", "--task", TASK, **changes)
    assert main("sac", [*parts, "--until", "20"]) == 0
    assert main("sac", [*parts, "--resume"]) == 0
    assert_same_run(tmp_path / "parts" / "x" / TASK / "1", full)

    policy = load_policy(full / "policy.safetensors", trust_imports=True)
    assert policy.obs_dims == (160,)
    assert policy.config.env.wrappers[1] == WrapperConfig.model_validate(FRAMES)
    (measured,), _ = evaluate(policy, episodes=2)
    assert np.mean(measured.returns) == pytest.approx(result_of(full)["eval/return"])
    out = tmp_path / "figures.json"
    flags = ("--run", full, "--json", out, "--workers", 1, "--episodes", 1)
    assert run_starter("play", *flags) == 0
    assert json.loads(out.read_text())["tasks"][0]["length"] == 15
