"""Episodes of one environment: their randomness, stepping, and replay."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from numpy import ndarray

from torchrl_lite.collector.failure import RAISED, of_environment
from torchrl_lite.collector.info import InfoRecorder, Reported

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
    1 to 30 steps. All n from 1 to ``longest`` are equally likely."""
    steps = int(rng.integers(1, longest + 1))
    lengths = rng.integers(1, LONGEST_HOLD + 1, size=steps)
    return np.repeat(np.arange(steps), lengths)[:steps]


@dataclass(frozen=True)
class EpisodeStats:
    """A finished episode. ``success`` is 1 if any step succeeded, None if the task does not report
    it."""

    task: int
    ret: float
    length: int
    success: float | None
    sample: Float32[ndarray, "n D"] | None = field(default=None, compare=False)
    """In evaluations: some of its transitions, in the format of the replay buffer."""
    rewards: Float[ndarray, " L"] | None = field(default=None, compare=False)
    """In evaluations: every reward."""
    info: dict[str, Reported] = field(default_factory=dict)
    """What it reported of the numbers in ``log.info``."""


class Transition(NamedTuple):
    next_obs: Float[ndarray, " O"]
    rew: float
    cont: float


class EpisodeRunner:
    """Steps one environment through episodes, and records the running one for replay.

    ``obs`` is the current observation. Simulator state is never saved: an episode is a pure
    function of its plan and its actions.
    """

    def __init__(self, env: gym.Env, task: int, name: str, *, info: Sequence[str] = ()) -> None:
        """``info`` names the numbers in each step's ``info`` that `EpisodeStats` reports."""
        self.env, self.task, self.name = env, task, name
        self.obs: ndarray = np.zeros(0)
        self.plan: EpisodePlan | None = None
        self.actions: list[ndarray] = []
        self._ret = 0.0
        self.success: float | None = None
        """Whether a step of the running episode succeeded; None if it was not reported."""
        self._info = InfoRecorder(info)

    def begin(self, plan: EpisodePlan) -> None:
        self.plan = plan
        self.actions, self._ret, self.success = [], 0.0, None
        self._info.begin()
        self.obs = self._guard(lambda: self.env.reset(seed=plan.seed, options={"goal": plan.goal}))[
            0
        ]

    @property
    def frame(self) -> int:
        """Number of steps since the reset."""
        return len(self.actions)

    def step(self, action: Float32[ndarray, " A"]) -> tuple[Transition, EpisodeStats | None]:
        """One step with exactly this action; returns statistics at the end of an episode."""
        obs, rew, terminated, truncated, info = self._guard(lambda: self.env.step(action))
        self.obs = obs
        self.actions.append(action.copy())
        self._ret += float(rew)
        if "success" in info:
            self.success = max(self.success or 0.0, float(info["success"]))
        self._info.add(info)
        stats = None
        if terminated or truncated:
            stats = EpisodeStats(
                self.task, self._ret, self.frame, self.success, info=self._info.summary()
            )
            self.plan = None
        return Transition(obs, float(rew), 0.0 if terminated else 1.0), stats

    def position(self) -> dict[str, Any]:
        """The actions since the reset, and the current observation."""
        shape = self.env.action_space.shape or ()
        actions = np.array(self.actions, np.float32).reshape(self.frame, *shape)
        return {"actions": torch.from_numpy(actions), "obs": torch.from_numpy(self.obs.copy())}

    def replay(self, plan: EpisodePlan, position: dict[str, Any]) -> bool:
        """Bring the environment to a saved position of the episode with this plan.

        Returns whether the result is bit-identical; if not, the episode restarts.
        """
        self.begin(plan)
        for action in position["actions"].numpy():
            self.step(action)
            if self.plan is None:
                break
        there = self.plan is not None and np.array_equal(self.obs, position["obs"].numpy())
        if not there:
            self.begin(plan)
        return there

    def _guard(self, call: Any) -> Any:
        try:
            return call()
        except RAISED as error:
            raise of_environment(self.name, error) from error
