"""Where a learner's batches come from."""

from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.types import Batch


class Sampler(Protocol):
    """A replay buffer, or several behind one interface."""

    def holds(self, task: int) -> bool:
        """Whether there are transitions of this task to sample."""

    def sample(
        self,
        pick: Float[Tensor, "T B"],
        task: Int[Tensor, " T"],
        *,
        discount: float,
        n_step: int = 1,
    ) -> Batch: ...


def demos_in(batch_size: int) -> int:
    """How many of a task's batch are demonstrations: its last ones."""
    return batch_size // 2


class SymmetricSampler:
    """Half of each task's batch from its collected transitions, half from its demonstrations.

    Ball et al. 2023, "Efficient Online Reinforcement Learning with Offline Data" (RLPD,
    arXiv:2302.02948), section 4.1. Both halves have the scale of the collected rewards.
    """

    def __init__(self, collected: ReplayBuffer, demos: ReplayBuffer) -> None:
        self.collected, self.demos = collected, demos
        demos.reward_scale = collected.reward_scale  # the same tensor

    def holds(self, task: int) -> bool:
        return self.collected.holds(task) and self.demos.holds(task)

    def sample(
        self,
        pick: Float[Tensor, "T B"],
        task: Int[Tensor, " T"],
        *,
        discount: float,
        n_step: int = 1,
    ) -> Batch:
        of_demos = demos_in(pick.shape[1])
        collected = self.collected.sample(
            pick[:, of_demos:], task, discount=discount, n_step=n_step
        )
        demos = self.demos.sample(pick[:, :of_demos], task, discount=discount, n_step=n_step)
        both = zip(collected[:-1], demos[:-1], strict=True)
        obs, act, rew, next_obs, discounts = (torch.cat(pair, dim=1) for pair in both)
        return Batch(obs, act, rew, next_obs, discounts, task)
