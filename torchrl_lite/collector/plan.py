"""The randomness of an episode, drawn from its address before its first step."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int
from numpy import ndarray

TRAIN, EVAL = 0, 1
"""Purpose of an episode, for `EpisodeKey`."""
LONGEST_HOLD = 30
"""Maximum steps for which a random action at an episode's start is held."""


class EpisodePlan(NamedTuple):
    """All randomness of one episode, drawn before its first step."""

    seed: int
    goal: int
    uniform: Float32[ndarray, "H A"]
    """Actions in [-1, 1] for epochs of random actions."""
    normal: Float32[ndarray, "H A"]
    """Standard normal exploration noise; consecutive steps may share it (``noise_repeat``)."""
    start: Float32[ndarray, "n A"]
    """Random actions in place of the policy's first ones (``random_starts``)."""


class EpisodeKey(NamedTuple):
    """Identifies an episode; any process draws the same plan from it."""

    run_seed: int
    purpose: int
    task: int
    copy: int
    episode: int

    def plan(
        self,
        *,
        horizon: int,
        act_dim: int,
        num_goals: int,
        noise_repeat: int = 1,
        noise_scale: float = 1.0,
        random_starts: float = 0.0,
        random_start_steps: int = 1,
    ) -> EpisodePlan:
        """``noise_repeat``: maximum consecutive steps that share their exploration noise.
        ``random_starts``: probability of random actions at the start, for up to
        ``random_start_steps`` steps."""
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(list(self))))
        plan = EpisodePlan(
            seed=int(rng.integers(2**31)),
            goal=int(rng.integers(num_goals)),
            uniform=(2 * rng.random((horizon, act_dim)) - 1).astype(np.float32),
            normal=rng.standard_normal((horizon, act_dim), dtype=np.float32),
            start=np.empty((0, act_dim), np.float32),
        )
        if noise_repeat > 1:
            plan = plan._replace(normal=plan.normal[_held_steps(horizon, noise_repeat, rng)])
        if noise_scale != 1.0:
            plan = plan._replace(normal=plan.normal * np.float32(noise_scale))
        if rng.random() < random_starts:
            steps = min(random_start_steps, horizon)
            plan = plan._replace(start=plan.uniform[_random_start(steps, rng)])
        return plan


def _held_steps(horizon: int, longest: int, rng: np.random.Generator) -> Int[ndarray, " H"]:
    """For each step, the step whose noise it uses: held for n <= longest steps, P(n) ~ 1 / n^2.

    Kim et al. 2026 (arXiv:2604.04539): noise that changes at every step hardly moves a robot.
    """
    chances = 1.0 / np.square(np.arange(1, longest + 1))
    lengths = 1 + rng.choice(longest, size=horizon, p=chances / chances.sum())
    starts = np.cumsum(lengths) - lengths
    return np.repeat(starts, lengths)[:horizon]


def _random_start(longest: int, rng: np.random.Generator) -> Int[ndarray, " n"]:
    """The step whose random action is taken, for each of the first n steps: an action is held for
    1 to ``LONGEST_HOLD`` steps. All n from 1 to ``longest`` are equally likely."""
    steps = int(rng.integers(1, longest + 1))
    lengths = rng.integers(1, LONGEST_HOLD + 1, size=steps)
    return np.repeat(np.arange(steps), lengths)[:steps]
