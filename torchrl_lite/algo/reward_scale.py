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

    ``mean <- (1 - a) mean + a r``, ``var <- (1 - a) var + a (r - mean)^2``, then
    ``r / (sqrt(var) + 1e-8)``: scaled, never centred. Unlike in garage, rewards are stored raw and
    scaled when they are sampled, so that old transitions get the current scale.
    """

    RATE = 1e-3
    STATISTICS = ("mean", "var")

    def __init__(self, num_tasks: int) -> None:
        self.mean = np.zeros(num_tasks)
        self.var = np.ones(num_tasks)

    def update(self, block: Block, tasks: list[int]) -> Float[Tensor, " T"]:
        rewards = block.rew.flatten(1, 2).double().numpy()[tasks]
        mean, var = self.mean[tasks], self.var[tasks]
        for rew in rewards.T:
            mean += self.RATE * (rew - mean)
            var += self.RATE * (np.square(rew - mean) - var)
        self.mean[tasks], self.var[tasks] = mean, var
        return self.factors()

    def factors(self) -> Float[Tensor, " T"]:
        return torch.from_numpy(1 / (np.sqrt(self.var) + 1e-8)).float()

    def recall(self, task: int, rew: Float[ndarray, "L K"], first: Float[ndarray, "L K"]) -> None:  # noqa: ARG002
        for one in rew.flat:
            self.mean[task] += self.RATE * (one - self.mean[task])
            self.var[task] += self.RATE * (np.square(one - self.mean[task]) - self.var[task])


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
        rewards = block.rew.double().numpy()[tasks]  # [t, L, K]
        goes_on = 1 - block.first.double().numpy()[tasks]
        returns, largest = self.returns[tasks], self.largest[tasks]
        for frame in range(rewards.shape[1]):
            returns = self.discount * goes_on[:, frame] * returns + rewards[:, frame]
            largest = np.maximum(largest, np.abs(returns).max(1))
        self.returns[tasks], self.largest[tasks] = returns, largest
        return self.factors()

    def recall(self, task: int, rew: Float[ndarray, "L K"], first: Float[ndarray, "L K"]) -> None:
        returns = np.zeros(rew.shape[1])
        for now, starts in zip(rew, first, strict=True):
            returns = self.discount * (1 - starts) * returns + now
            self.largest[task] = max(self.largest[task], np.abs(returns).max())

    def factors(self) -> Float[Tensor, " T"]:
        scale = np.divide(
            self.bound, self.largest, out=np.ones_like(self.largest), where=self.largest > 0
        )
        return torch.from_numpy(scale).float()


def reward_scale(config: Config) -> RewardScale | None:
    """The scale that ``env.reward_normalization`` selects."""
    if config.env.reward_normalization == "ema":
        return DeviationScale(config.num_tasks)
    if config.env.reward_normalization == "return":
        return ReturnScale(
            config.num_tasks,
            config.env.copies,
            discount=config.agent.discount,
            bound=config.net.critic.bound,
        )
    return None
