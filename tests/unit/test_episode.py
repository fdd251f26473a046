"""Episodes are derived from a key and replayed from their actions."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from torchrl_lite.collector.episode import EpisodeRunner, EpisodeStats
from torchrl_lite.collector.plan import EVAL, TRAIN, EpisodeKey, EpisodePlan
from torchrl_lite.env.make import make_env
from torchrl_lite.errors import EpisodeError

KEY = EpisodeKey(run_seed=1, purpose=TRAIN, task=2, copy=3, episode=4)
HORIZON = 12


def plan_of(key: EpisodeKey, *, horizon: int = HORIZON, num_goals: int = 50) -> EpisodePlan:
    return key.plan(horizon=horizon, act_dim=4, num_goals=num_goals)


class ScriptedEnv(gym.Env):
    """Observes its step count; ends and succeeds at given frames."""

    def __init__(self, **at: int) -> None:
        """The frames at which it ``terminates``, ``truncates`` and ``succeeds``."""
        self.action_space = gym.spaces.Box(-1, 1, (4,))
        self.at = at

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.frame = 0
        return np.zeros(3), {"goal": (options or {}).get("goal")}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.frame += 1
        ended, cut, success = (
            self.frame == self.at.get(name) for name in ("terminates", "truncates", "succeeds")
        )
        info = {"success": float(success)}
        return np.full(3, float(self.frame)), 0.5 + float(action[0]), ended, cut, info


def started(**options: int) -> EpisodeRunner:
    runner = EpisodeRunner(ScriptedEnv(**options), task=1, name="scripted (copy 0)")
    runner.begin(plan_of(KEY))
    return runner


@pytest.fixture(scope="module")
def runners() -> list[EpisodeRunner]:
    """Two runners of the same real environment."""
    return [
        EpisodeRunner(make_env("metaworld", "drawer-close-v3", seed=1, horizon=HORIZON), 0, "real")
        for _ in range(2)
    ]


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


@pytest.mark.parametrize(("succeeds_at", "success"), [(1, 1.0), (4, 0.0)])
def test_an_episode_counts_return_length_and_success(succeeds_at: int, success: float) -> None:
    runner = started(truncates=3, succeeds=succeeds_at)
    ended = [runner.step(np.zeros(4, np.float32))[1] for _ in range(3)]
    assert ended[:2] == [None, None]
    assert ended[2] == EpisodeStats(task=1, ret=1.5, length=3, success=success)
    assert runner.plan is None


def test_statistics_are_reset_between_episodes() -> None:
    runner = started(truncates=2, succeeds=1)
    for _ in range(2):
        runner.step(np.zeros(4, np.float32))
    del runner.env.unwrapped.at["succeeds"]
    runner.begin(plan_of(KEY))
    stats = [runner.step(np.zeros(4, np.float32))[1] for _ in range(2)][-1]
    assert stats == EpisodeStats(task=1, ret=1.0, length=2, success=0.0)


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


@pytest.mark.parametrize("frames", [0, 7])
def test_a_replayed_episode_continues_like_the_original(
    runners: list[EpisodeRunner], frames: int
) -> None:
    one, other = runners
    plan = plan_of(KEY)
    one.begin(plan)
    for action in plan.uniform[:frames]:
        one.step(action)
    assert other.replay(plan, one.position())
    assert other.frame == frames
    assert other.obs.tobytes() == one.obs.tobytes()
    for action in plan.uniform[frames:]:
        (step, ended), (same_step, same_ended) = one.step(action), other.step(action)
        assert step.next_obs.tobytes() == same_step.next_obs.tobytes()
        assert (step.rew, step.cont) == (same_step.rew, same_step.cont)
    assert ended is not None
    assert ended == same_ended


def test_a_saved_position_does_not_change(runners: list[EpisodeRunner]) -> None:
    runner = runners[0]
    plan = plan_of(KEY)
    runner.begin(plan)
    action = plan.uniform[0].copy()
    runner.step(action)
    position = runner.position()
    obs = position["obs"].clone()
    action[:] = 9  # the runner keeps no view of it
    runner.step(plan.uniform[1])
    assert np.array_equal(position["actions"], plan.uniform[:1])
    assert torch.equal(position["obs"], obs)
    assert np.array_equal(runner.position()["actions"], plan.uniform[:2])


def test_a_replay_that_ends_too_early_restarts_the_episode() -> None:
    runner = started()
    for action in plan_of(KEY).uniform[:5]:
        runner.step(action)
    other = EpisodeRunner(ScriptedEnv(terminates=3), task=1, name="scripted")
    assert not other.replay(plan_of(KEY), runner.position())
    assert (other.frame, other.obs.tolist()) == (0, [0.0] * 3)
