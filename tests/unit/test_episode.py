"""Episodes are derived from a key and replayed from their actions."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from torchrl_lite.collector.episode import EpisodeRunner, EpisodeStats
from torchrl_lite.collector.plan import EVAL, TRAIN, EpisodeKey, EpisodePlan
from torchrl_lite.errors import EpisodeError

KEY = EpisodeKey(run_seed=1, purpose=TRAIN, task=2, copy=3, episode=4)
HORIZON = 12


def plan_of(key: EpisodeKey) -> EpisodePlan:
    return key.plan(horizon=HORIZON, act_dim=4, num_goals=50)


class ScriptedEnv(gym.Env):
    """Observes its step count; ends and succeeds at given frames."""

    def __init__(self, **at: int) -> None:
        """The frames at which it ``terminates``, ``truncates`` and ``succeeds``."""
        self.action_space = gym.spaces.Box(-1, 1, (4,))
        self.at = at

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed, options=options)
        self.obs = np.zeros(3)
        return self.obs, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.obs += 1  # the array that it already returned
        ended, cut, success = (
            self.obs[0] == self.at.get(name) for name in ("terminates", "truncates", "succeeds")
        )
        return self.obs, 0.5 + float(action[0]), ended, cut, {"success": float(success)}


def started(**at: int) -> EpisodeRunner:
    runner = EpisodeRunner(ScriptedEnv(**at), task=1, name="scripted (copy 0)")
    runner.begin(plan_of(KEY))
    return runner


@pytest.mark.parametrize("part", EpisodeKey._fields)
def test_each_part_of_the_key_changes_the_plan(part: str) -> None:
    """Including its purpose, training or evaluation."""
    plan = plan_of(KEY)
    for step in (1, 2**20):
        other = plan_of(KEY._replace(**{part: getattr(KEY, part) + step}))
        assert plan.seed != other.seed
        assert not (plan.uniform == other.uniform).any()
        assert not (plan.normal == other.normal).any()
    assert EVAL != TRAIN


def test_statistics_are_those_of_one_episode() -> None:
    """Of its steps with a success, one is enough."""
    runner = started(truncates=3, succeeds=1)
    for success in (1.0, 0.0):
        runner.begin(plan_of(KEY))
        ended = [runner.step(np.zeros(4, np.float32))[1] for _ in range(3)]
        assert ended == [None, None, EpisodeStats(task=1, ret=1.5, length=3, success=success)]
        assert runner.plan is None
        runner.env.unwrapped.at["succeeds"] = 4


def test_an_episode_that_exceeds_its_time_limit_is_an_error() -> None:
    """A wrapper may have hidden the end, and an evaluation would never finish."""
    runner = started()
    for _ in range(HORIZON - 1):
        runner.step(np.zeros(4, np.float32))
    with pytest.raises(EpisodeError, match=r"^scripted \(copy 0\): .* limit of 12 steps"):
        runner.step(np.zeros(4, np.float32))


class Halves(gym.ActionWrapper):
    """Modifies the action in place, which a wrapper must not do."""

    def action(self, action: np.ndarray) -> np.ndarray:
        action *= 0.5
        return action


def test_a_wrapper_that_modifies_actions_in_place_does_not_change_the_record() -> None:
    runner = EpisodeRunner(Halves(ScriptedEnv()), task=1, name="halved")
    runner.begin(plan_of(KEY))
    action = np.ones(4, np.float32)
    runner.step(action)
    assert action.tolist() == runner.position()["actions"][0].tolist() == [1.0] * 4
    assert runner.replay(plan_of(KEY), runner.position())


def test_a_saved_position_does_not_change() -> None:
    runner, plan = started(), plan_of(KEY)
    action = plan.uniform[0].copy()
    runner.step(action)
    position = runner.position()
    action[:] = 9  # the runner keeps no view of it
    runner.step(plan.uniform[1])
    assert np.array_equal(position["actions"], plan.uniform[:1])
    assert position["obs"].tolist() == [1.0] * 3
    assert np.array_equal(runner.position()["actions"], plan.uniform[:2])


@pytest.mark.parametrize("end", [3, 5])
def test_a_replay_that_ends_too_early_restarts_the_episode(end: int) -> None:
    runner, other = started(), started(terminates=end)
    for action in plan_of(KEY).uniform[:5]:
        runner.step(action)
    assert not other.replay(plan_of(KEY), runner.position())
    assert (other.frame, other.obs.tolist()) == (0, [0.0] * 3)
