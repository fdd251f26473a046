"""Steps one environment through episodes, and replays them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy import ndarray

from torchrl_lite.collector.guard import number
from torchrl_lite.collector.info import InfoRecorder, Reported
from torchrl_lite.collector.plan import EpisodePlan
from torchrl_lite.env.failing import RAISED, of_environment
from torchrl_lite.errors import EpisodeError

SUCCESS = ("success", "is_success")
"""Where an environment may report it: Meta-World's name, and that of Gymnasium-Robotics."""


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
        options = {"goal": plan.goal}
        self.obs, _ = self._guard(lambda: self.env.reset(seed=plan.seed, options=options))

    @property
    def frame(self) -> int:
        """Number of steps since the reset."""
        return len(self.actions)

    def step(self, action: Float32[ndarray, " A"]) -> tuple[Transition, EpisodeStats | None]:
        """One step with exactly this action; returns statistics at the end of an episode."""
        self.actions.append(action.copy())
        played = action.copy()  # a wrapper may change it in place
        self.obs, rew, terminated, truncated, info = self._guard(lambda: self.env.step(played))
        self._ret += float(rew)
        success = self._guard(lambda: _success(info))
        if success is not None:
            self.success = max(self.success or 0.0, success)
        self._info.add(info)
        transition = Transition(self.obs, float(rew), 0.0 if terminated else 1.0)
        if terminated or truncated:
            self.plan = None
            ended = self.task, self._ret, self.frame, self.success
            return transition, EpisodeStats(*ended, info=self._info.summary())
        if self.plan and self.frame >= len(self.plan.normal):
            raise EpisodeError(
                f"{self.name}: an episode goes on after its time limit of {self.frame} steps; "
                "a wrapper must not change truncated to False"
            )
        return transition, None

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


def _success(info: Mapping[str, Any]) -> float | None:
    """Whether the step succeeded; None if it is not reported."""
    for key in SUCCESS:
        if key in info:
            success = number("success", info[key])
            if success not in (0.0, 1.0):
                raise ValueError(f"the success is {success:g}, not 0 or 1")
            return success
    return None
