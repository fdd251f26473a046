"""Exploration noise: repetition, spread over copies, and what stays bit-identical."""

from typing import Any

import numpy as np
import pytest
import torch
from helpers import make_learner
from numpy import ndarray
from scipy.stats import chisquare

from torchrl_lite.collector.collector import Collector
from torchrl_lite.collector.plan import TRAIN, EpisodeKey, EpisodePlan
from torchrl_lite.collector.setup import RolloutSetup
from torchrl_lite.config import EnvConfig
from torchrl_lite.env.make import make_spec

KEY = EpisodeKey(run_seed=1, purpose=TRAIN, task=2, copy=3, episode=4)


def plan_of(*, horizon: int = 500, **options: Any) -> EpisodePlan:
    return KEY.plan(horizon=horizon, act_dim=3, num_goals=50, **options)


def starts(noise: ndarray) -> ndarray:
    """Steps whose noise differs from that of the step before."""
    return np.flatnonzero(np.append(True, (noise[1:] != noise[:-1]).any(axis=1)))


@pytest.mark.parametrize("longest", [2, 16])
def test_repeat_lengths_follow_an_inverse_square_law(longest: int) -> None:
    noise = plan_of(horizon=60_000, noise_repeat=longest).normal
    lengths = np.diff(starts(noise))  # without the last one, which the horizon cuts
    counts = np.bincount(lengths, minlength=longest + 1)
    assert (counts[0], len(counts)) == (0, longest + 1)
    weights = [1 / n**2 for n in range(1, longest + 1)]
    expected = [weight / sum(weights) * counts.sum() for weight in weights]
    assert chisquare(counts[1:], expected).pvalue > 0.001


@pytest.mark.parametrize("longest", [2, 1000])
def test_repeated_noise_is_that_of_the_first_step(longest: int) -> None:
    """Everything else in the plan is bit-identical."""
    plain, held = plan_of(), plan_of(noise_repeat=longest)
    firsts = starts(held.normal)
    assert np.array_equal(held.normal[firsts], plain.normal[firsts])
    assert 1 < len(firsts) < 500
    for name in ("seed", "goal", "uniform"):
        assert np.array_equal(getattr(held, name), getattr(plain, name)), name


def test_plans_without_repetition_keep_the_original_random_stream() -> None:
    plan = plan_of()
    assert all(map(np.array_equal, plan_of(noise_repeat=1), plan))
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(list(KEY))))
    assert (plan.seed, plan.goal) == (rng.integers(2**31), rng.integers(50))
    assert np.array_equal(plan.uniform, (2 * rng.random((500, 3)) - 1).astype(np.float32))
    assert np.array_equal(plan.normal, rng.standard_normal((500, 3), dtype=np.float32))


def test_the_collector_acts_with_noise_whose_scales_are_spread_geometrically() -> None:
    """Over a task's environments."""
    config = EnvConfig(
        suite="gymnasium", tasks=["Pendulum-v1", "MountainCarContinuous-v0"], num_envs=10,
        max_episode_frames=20, noise_repeat=4, noise_spread=16,
    )  # fmt: skip
    spec = make_spec(config)
    actor = make_learner("sac", spec).actor
    with Collector(RolloutSetup(config, spec, actor, seed=5), epoch_frames=20) as collector:
        collector.submit(actor, [0, 1], random=False)
        block = collector.result().block
    for task in (0, 1):
        for copy, scale in enumerate([1, 2, 4, 8, 16]):
            key = EpisodeKey(5, TRAIN, task, copy, 0)
            plan = key.plan(horizon=20, act_dim=1, num_goals=config.num_goals, noise_repeat=4)
            noise = torch.from_numpy(plan.normal * scale)[None]
            with torch.no_grad():
                expected = actor.explore(block.obs[[task], :, copy], torch.tensor([task]), noise)
            torch.testing.assert_close(block.act[[task], :, copy], expected)


def test_noise_spread_needs_several_environments_per_task() -> None:
    with pytest.raises(ValueError, match="noise_spread: needs several environments"):
        EnvConfig(tasks=["reach-v3"], noise_spread=2)
