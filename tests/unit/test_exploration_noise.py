"""Exploration noise: how long it is held, how it differs between copies, what it leaves alone."""

from typing import Any

import numpy as np
import pytest
import torch
from helpers import make_learner
from numpy import ndarray
from scipy.stats import chisquare

from torchrl_lite.collector.collector import Collector
from torchrl_lite.collector.episode import TRAIN, EpisodeKey, EpisodePlan
from torchrl_lite.config import EnvConfig
from torchrl_lite.env.make import make_spec

KEY = EpisodeKey(run_seed=1, purpose=TRAIN, task=2, copy=3, episode=4)


def plan_of(key: EpisodeKey = KEY, *, horizon: int = 500, **options: Any) -> EpisodePlan:
    return key.plan(horizon=horizon, act_dim=3, num_goals=50, **options)


def same_plan(one: EpisodePlan, other: EpisodePlan) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def starts(noise: ndarray) -> ndarray:
    """Steps whose noise is not that of the step before."""
    return np.flatnonzero(np.append(True, (noise[1:] != noise[:-1]).any(axis=1)))


@pytest.mark.parametrize("longest", [2, 16])
def test_runs_of_n_steps_come_with_a_probability_of_one_over_n_squared(longest: int) -> None:
    noise = plan_of(horizon=60_000, noise_repeat=longest).normal
    lengths = np.diff(starts(noise))  # without the last run, which the horizon cuts
    counts = np.bincount(lengths, minlength=longest + 1)
    assert (counts[0], len(counts)) == (0, longest + 1)
    weights = [1 / n**2 for n in range(1, longest + 1)]
    expected = [weight / sum(weights) * counts.sum() for weight in weights]
    assert chisquare(counts[1:], expected).pvalue > 0.001


@pytest.mark.parametrize("longest", [2, 1000])
def test_a_run_has_the_noise_that_its_first_step_has_anyway(longest: int) -> None:
    """All else of an episode has the same bits."""
    plain, held = plan_of(), plan_of(noise_repeat=longest)
    begin = starts(held.normal)
    assert np.array_equal(held.normal[begin], plain.normal[begin])
    assert 1 < len(begin) < 500
    for name in ("seed", "goal", "uniform"):
        assert np.array_equal(getattr(held, name), getattr(plain, name)), name


def test_without_repetition_a_plan_is_the_one_of_always() -> None:
    assert same_plan(plan_of(noise_repeat=1), plan_of())
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(list(KEY))))
    assert (plan_of().seed, plan_of().goal) == (rng.integers(2**31), rng.integers(50))
    uniform = 2 * rng.random((500, 3)) - 1
    assert np.array_equal(plan_of().uniform, uniform.astype(np.float32))
    normal = rng.standard_normal((500, 3), dtype=np.float32)
    assert np.array_equal(plan_of().normal, normal)


def test_noise_that_is_held_is_still_standard_normal() -> None:
    noise = plan_of(horizon=60_000, noise_repeat=4).normal
    assert (noise.mean(), noise.var()) == pytest.approx((0, 1), abs=0.02)


def test_the_address_alone_says_how_long() -> None:
    assert same_plan(plan_of(noise_repeat=16), plan_of(EpisodeKey(*KEY), noise_repeat=16))
    lengths = {
        tuple(starts(plan_of(KEY._replace(**{part: 7}), noise_repeat=16).normal))
        for part in KEY._fields
    }
    assert len(lengths) == len(KEY)


def held(steps: ndarray) -> list[tuple[int, int]]:
    """Begin and length of each random action."""
    begins, lengths = np.unique(steps[steps >= 0], return_counts=True)
    return list(zip(begins.tolist(), lengths.tolist(), strict=True))


def test_random_actions_begin_with_probability_epsilon_and_last_equally_often_all_lengths() -> None:
    horizon, longest = 60_000, 6
    steps = plan_of(horizon=horizon, epsilon=0.05, epsilon_steps=longest).random
    actions = held(steps)
    for begin, length in actions:
        assert (steps[begin : begin + length] == begin).all()
    counts = np.bincount([length for _, length in actions[:-1]], minlength=longest + 1)
    assert (counts[0], len(counts)) == (0, longest + 1)
    assert chisquare(counts[1:]).pvalue > 0.001
    free = (steps < 0).sum() + len(actions)  # steps at which one could begin
    assert len(actions) / free == pytest.approx(0.05, rel=0.05)


def test_random_actions_leave_all_else_of_a_plan_alone() -> None:
    plain, other = plan_of(noise_repeat=4), plan_of(noise_repeat=4, epsilon=0.2)
    assert (plain.random == -1).all() and not (other.random == -1).all()
    assert same_plan(other._replace(random=plain.random), plain)


def test_an_environment_does_what_its_plan_says() -> None:
    """The policy with held noise, and random actions in between."""
    options = {"noise_repeat": 4, "epsilon": 0.1, "epsilon_steps": 5}
    config = EnvConfig(suite="gymnasium", tasks=["Pendulum-v1"], max_episode_frames=30, **options)
    spec = make_spec(config)
    actor = make_learner("sac", spec).actor
    with Collector(config, spec, actor, epoch_frames=60, seed=5, workers=0) as collector:
        collector.submit(actor, [0], random=False)
        block = collector.result().block
    plans = [
        EpisodeKey(5, TRAIN, 0, 0, episode).plan(
            horizon=30, act_dim=1, num_goals=config.num_goals, **options
        )
        for episode in (0, 1)
    ]
    assert any(len(starts(plan.normal)) < 30 for plan in plans)
    noise = torch.from_numpy(np.concatenate([plan.normal for plan in plans]))[None]
    with torch.no_grad():
        expected = actor.explore(block.obs[:, :, 0], torch.tensor([0]), noise)
    random = [
        (episode, step)
        for episode, plan in enumerate(plans)
        for step in np.flatnonzero(plan.random >= 0)
    ]
    assert 0 < len(random) < 30
    for episode, step in random:
        plan = plans[episode]
        expected[0, 30 * episode + step, 0] = float(plan.uniform[plan.random[step], 0])
    torch.testing.assert_close(block.act[:, :, 0], expected)


def test_epochs_of_random_actions_are_the_same_with_epsilon() -> None:
    config = EnvConfig(suite="gymnasium", tasks=["Pendulum-v1"], max_episode_frames=30)
    spec = make_spec(config)
    actor = make_learner("sac", spec).actor
    blocks = []
    for epsilon in (0.0, 0.5):
        env = config.model_copy(update={"epsilon": epsilon})
        with Collector(env, spec, actor, epoch_frames=60, seed=5, workers=0) as collector:
            collector.submit(actor, [0], random=True)
            blocks.append(collector.result().block.act.clone())
    assert torch.equal(*blocks)
