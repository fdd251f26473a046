"""The tensors that are passed around, and the names of their dimensions.

The layout in networks and updates is ``[E, T, B, D]``; a single task is the case ``T = 1``.

====  ==========================================================================
E     members of an ensemble of Q functions
T     tasks: one entry per task in training, one per environment in acting
B     transitions per task
L     frames collected per environment in an epoch
K     environments (copies) per task
O     observation features, padded to the largest task
A     action dimensions, padded to the largest task
H     hidden units
N     a critic's outputs: 1, or the bins of a categorical critic
M     numbers of a critic's training target
====  ==========================================================================

``task`` is the task index of each entry of ``T``; it is never part of the observation.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Batch(NamedTuple):
    """Sampled n-step returns on the learner's device.

    ``rew`` is the discounted sum of rewards over m <= n steps. ``next_obs`` is the true successor
    of the last step, never a reset observation. ``discount`` is the weight of its value: gamma^m,
    or 0 for a terminal state. A time limit never stops the bootstrap.
    """

    obs: Float[Tensor, "T B O"]
    act: Float[Tensor, "T B A"]
    rew: Float[Tensor, "T B"]
    next_obs: Float[Tensor, "T B O"]
    discount: Float[Tensor, "T B"]
    task: Int[Tensor, " T"]


class Noise(NamedTuple):
    """All randomness of one update, drawn outside it, the same for every ``system.accel``."""

    pick: Float[Tensor, "T B"]
    """Uniform in [0, 1): selects transitions (float64, so that large buffers stay uniform)."""
    act: Float[Tensor, "2 T B A"]
    """Standard normal: entry 0 for the actions at ``next_obs``, entry 1 for those at ``obs``."""


class Block(NamedTuple):
    """The transitions of all environments in one epoch, float32 on the CPU.

    ``cont`` is 0 if the transition led to a terminal state, else 1. ``first`` is 1 at the
    start of an episode, which n-step returns must not cross.
    """

    obs: Float[Tensor, "T L K O"]
    act: Float[Tensor, "T L K A"]
    rew: Float[Tensor, "T L K"]
    next_obs: Float[Tensor, "T L K O"]
    cont: Float[Tensor, "T L K"]
    first: Float[Tensor, "T L K"]

    @classmethod
    def zeros(cls, spec: "Spec", frames: int, copies: int) -> Self:
        """A Block to fill."""
        shape = (spec.num_tasks, frames, copies)
        return cls(
            obs=torch.zeros(*shape, spec.obs_dim),
            act=torch.zeros(*shape, spec.act_dim),
            rew=torch.zeros(shape),
            next_obs=torch.zeros(*shape, spec.obs_dim),
            cont=torch.zeros(shape),
            first=torch.zeros(shape),
        )


class Spec(NamedTuple):
    """Names and sizes of a set of tasks; tensors are padded to the largest."""

    tasks: tuple[str, ...]
    obs_dims: tuple[int, ...]
    act_dims: tuple[int, ...]

    @property
    def num_tasks(self) -> int:
        return len(self.tasks)

    @property
    def obs_dim(self) -> int:
        return max(self.obs_dims)

    @property
    def act_dim(self) -> int:
        return max(self.act_dims)

    @property
    def obs_mask(self) -> Float[Tensor, "T O"]:
        """1 for the features of a task, 0 for padding."""
        return _mask(self.obs_dims)

    @property
    def act_mask(self) -> Float[Tensor, "T A"]:
        return _mask(self.act_dims)

    @property
    def shapes(self) -> dict[str, list[int]]:
        """Each task's number of observation features and of action dimensions."""
        sizes = zip(self.tasks, self.obs_dims, self.act_dims, strict=True)
        return {task: [obs, act] for task, obs, act in sizes}


def _mask(sizes: Sequence[int]) -> Float[Tensor, "T n"]:
    return (torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]).float()
