"""The randomness of an episode, drawn from its address before its first step."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int
from numpy import ndarray

TRAIN, EVAL, DEMO = 0, 1, 2
"""Purpose of an episode, for `EpisodeKey`."""


class EpisodePlan(NamedTuple):
    """All randomness of one episode, drawn before its first step."""

    seed: int
    goal: int
    uniform: Float32[ndarray, "H A"]
    """Actions in [-1, 1] for epochs of random actions."""
    normal: Float32[ndarray, "H A"]
    """Exploration noise, standard normal times ``noise_scale``; consecutive steps may share it
    (``noise_repeat``)."""


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
    ) -> EpisodePlan:
        """``noise_repeat``: maximum consecutive steps that share their exploration noise, which
        ``noise_scale`` multiplies."""
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(list(self))))
        plan = EpisodePlan(
            seed=int(rng.integers(2**31)),
            goal=int(rng.integers(num_goals)),
            uniform=(2 * rng.random((horizon, act_dim)) - 1).astype(np.float32),
            normal=rng.standard_normal((horizon, act_dim), dtype=np.float32),
        )
        if noise_repeat > 1:
            plan = plan._replace(normal=plan.normal[_held_steps(horizon, noise_repeat, rng)])
        if noise_scale != 1.0:
            plan = plan._replace(normal=plan.normal * np.float32(noise_scale))
        return plan


def _held_steps(horizon: int, longest: int, rng: np.random.Generator) -> Int[ndarray, " H"]:
    """For each step, the step whose noise it uses: held for n <= longest steps, P(n) ~ 1 / n^2.

    Kim et al. 2026 (arXiv:2604.04539): noise that changes at every step hardly moves a robot.
    """
    chances = 1.0 / np.square(np.arange(1, longest + 1))
    lengths = 1 + rng.choice(longest, size=horizon, p=chances / chances.sum())
    starts = np.cumsum(lengths) - lengths
    return np.repeat(starts, lengths)[:horizon]
