"""Running reward scale per task, for tasks whose rewards differ widely in magnitude."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from torchrl_lite.config import Config
from torchrl_lite.types import Block


class RewardScale(ABC):
    """A reward multiplier per task, from running statistics that are saved with the run."""

    STATISTICS: tuple[str, ...]
    """Attribute names of the arrays."""

    @abstractmethod
    def factors(self) -> Float[Tensor, " T"]:
        """The multiplier of every task."""

    @abstractmethod
    def update(self, block: Block, tasks: list[int]) -> Float[Tensor, " T"]:
        """Add these tasks' rewards in time order; returns `factors`."""

    @abstractmethod
    def recall(self, task: int, rew: Float[ndarray, "L K"], first: Float[ndarray, "L K"]) -> None:
        """Add rewards that K other environments of this task have given in L steps."""

    def state_dict(self) -> dict[str, Tensor]:
        return {name: torch.tensor(getattr(self, name)) for name in self.STATISTICS}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name in self.STATISTICS:
            np.copyto(getattr(self, name), state[name].numpy())


class DeviationScale(RewardScale):
    """Exponential moving standard deviation, as in garage's ``NormalizedEnv``.

    ``mean <- (1 - a) mean + a r``, ``var <- (1 - a) var + a (r - mean)^2`` in each environment,
    then ``r / (sqrt(var) + 1e-8)`` with the mean of ``var`` over a task's environments: scaled,
    never centred. Unlike in garage, rewards are stored raw and scaled when they are sampled, so
    that old transitions get the current scale. So that constant rewards do not blow up an old one,
    ``sqrt(var)`` counts as at least ``sqrt(a)`` times the largest ``|r - mean|`` so far, the least
    that garage's can be just after that reward.
    """

    RATE = 1e-3
    STATISTICS = ("mean", "var", "largest")

    def __init__(self, num_tasks: int, copies: int) -> None:
        self.mean = np.zeros((num_tasks, copies))
        self.var = np.ones((num_tasks, copies))
        self.largest = np.zeros(num_tasks)

    def update(self, block: Block, tasks: list[int]) -> Float[Tensor, " T"]:
        rew = block.rew.double().numpy()[tasks]
        state = self._add(rew, tasks, mean=self.mean[tasks], var=self.var[tasks])
        self.mean[tasks], self.var[tasks] = state
        return self.factors()

    def factors(self) -> Float[Tensor, " T"]:
        deviation = np.sqrt(np.maximum(self.var.mean(1), self.RATE * self.largest**2))
        return torch.from_numpy(1 / (deviation + 1e-8)).float()

    def recall(self, task: int, rew: Float[ndarray, "L K"], first: Float[ndarray, "L K"]) -> None:  # noqa: ARG002
        # Each environment takes over the statistics of one of the others, in turn.
        copies, others = self.mean.shape[1], rew.shape[1]
        shared = np.arange(others) % copies
        state = self._add(
            rew[None], [task], mean=self.mean[[task]][:, shared], var=self.var[[task]][:, shared]
        )
        for own, there in zip((self.mean, self.var), state, strict=True):
            own[task] = there[0, np.arange(copies) % others]

    def _add(
        self,
        rewards: Float[ndarray, "t L K"],
        tasks: list[int],
        *,
        mean: Float[ndarray, "t K"],
        var: Float[ndarray, "t K"],
    ) -> tuple[Float[ndarray, "t K"], Float[ndarray, "t K"]]:
        """Continues these statistics; returns those at the end."""
        largest = self.largest[tasks]
        for frame in range(rewards.shape[1]):
            rew = rewards[:, frame]
            mean = mean + self.RATE * (rew - mean)
            var = var + self.RATE * (np.square(rew - mean) - var)
            largest = np.maximum(largest, np.abs(rew - mean).max(1))
        self.largest[tasks] = largest
        return mean, var


class ReturnScale(RewardScale):
    """Scales a task's largest discounted return so far to ``bound``.

    ``G <- discount G + r`` runs forward through each episode, and rewards are divided by
    ``max |G| / bound``: Kim et al. 2026 (arXiv:2604.04539), without their standard deviation of G.
    A task that has only received zero rewards is not scaled.
    """

    STATISTICS = ("returns", "largest")

    def __init__(self, num_tasks: int, copies: int, *, discount: float, bound: float) -> None:
        self.discount, self.bound = discount, bound
        self.returns = np.zeros((num_tasks, copies))
        self.largest = np.zeros(num_tasks)

    def update(self, block: Block, tasks: list[int]) -> Float[Tensor, " T"]:
        rew, first = (field.double().numpy()[tasks] for field in (block.rew, block.first))
        self.returns[tasks] = self._add(rew, first, tasks, returns=self.returns[tasks])
        return self.factors()

    def recall(self, task: int, rew: Float[ndarray, "L K"], first: Float[ndarray, "L K"]) -> None:
        self._add(rew[None], first[None], [task], returns=np.zeros((1, rew.shape[1])))

    def _add(
        self,
        rew: Float[ndarray, "t L K"],
        first: Float[ndarray, "t L K"],
        tasks: list[int],
        *,
        returns: Float[ndarray, "t K"],
    ) -> Float[ndarray, "t K"]:
        """Continues these discounted returns; returns those at the end."""
        goes_on, largest = 1 - first, self.largest[tasks]
        for frame in range(rew.shape[1]):
            returns = self.discount * goes_on[:, frame] * returns + rew[:, frame]
            largest = np.maximum(largest, np.abs(returns).max(1))
        self.largest[tasks] = largest
        return returns

    def factors(self) -> Float[Tensor, " T"]:
        scale = np.divide(
            self.bound, self.largest, out=np.ones_like(self.largest), where=self.largest > 0
        )
        return torch.from_numpy(scale).float()


def reward_scale(config: Config) -> RewardScale | None:
    """The scale that ``env.reward_normalization`` selects."""
    if config.reward_normalization == "ema":
        return DeviationScale(config.num_tasks, config.env.copies)
    if config.reward_normalization == "return":
        return ReturnScale(
            config.num_tasks,
            config.env.copies,
            discount=config.agent.discount,
            bound=config.net.critic.bound,
        )
    return None
