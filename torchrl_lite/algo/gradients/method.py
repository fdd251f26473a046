"""Base class of methods that combine the gradients of several tasks."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from torchrl_lite.network.critic import Critic
from torchrl_lite.types import Batch

PerTask = Float[Tensor, " n"]
"""A number for each of the ``n`` training tasks."""
Products = Float[Tensor, "n n"]
"""Inner products of all pairs of their gradients."""
Tasks = Int[Tensor, " n"]
"""Their indices."""
LR = 0.025
"""Learning rate of `RowAdam`, for FAMO and GradNorm alike."""


Progress = Callable[[], tuple[Tensor, Tensor]]
"""Computes losses ``[n]`` of the same transitions before and after the network's step."""


@torch.no_grad()
def critic_progress(
    critic: Critic,
    batch: Batch,
    prediction: Float[Tensor, "E T B N"],
    target: Float[Tensor, "T B M"],
) -> tuple[Float[Tensor, " T"], Float[Tensor, " T"]]:
    """The critics' losses of every second transition of the batch: of its ``prediction``, and
    predicted again. (With demonstrations, these are the second half of a batch.)"""
    again = critic(batch.obs[:, ::2], batch.act[:, ::2], batch.task)
    before, after = (
        critic.loss(either, target[:, ::2]).mean(0) for either in (prediction[:, :, ::2], again)
    )
    return before, after


class Method(nn.Module):
    """Turns the gradients of ``n`` training tasks into one: ``sum_i weights_i gradient_i``.

    At most, a method needs the inner products of all pairs of gradients. There is one instance per
    network; its buffers, over all ``T`` tasks, are saved with a run.
    """

    NEEDS_PRODUCTS = True
    """Whether the method needs each task's gradient; else a weighted loss is enough."""
    NEEDS_POSITIVE_LOSSES = False
    """The actor's loss has no lower bound; its gradients are averaged by such a method."""

    def __init__(self, num_tasks: int) -> None:
        super().__init__()
        self.num_tasks = num_tasks

    def weights(self, losses: PerTask, products: Any, task: Tasks) -> PerTask:
        """The weight of each gradient; 1/n for all of them is the mean. ``products`` are
        `Products`, or None if the method needs none."""
        raise NotImplementedError

    def draw(self, generator: torch.Generator) -> None:
        """Draw the random numbers of the next update, in place."""

    def learn(
        self, losses: PerTask, products: Any, task: Tasks, *, progress: Progress | None
    ) -> None:
        """Update task weights, once the network's step is done. ``progress`` is given for losses
        that are never negative."""


class RowAdam(nn.Module):
    """Adam (Kingma & Ba 2014, arXiv:1412.6980) on one number per task.

    Every task has its own step count, and an inactive task keeps its moments.
    """

    def __init__(self, num_tasks: int) -> None:
        super().__init__()
        for name in ("count", "first", "second"):
            self.register_buffer(name, torch.zeros(num_tasks))

    @torch.no_grad()
    def forward(self, values: Float[Tensor, " T"], grad: PerTask, task: Tasks) -> None:
        """One step on the entries ``task`` of ``values``."""
        count = self.get_buffer("count")[task] + 1
        first = self.get_buffer("first")[task].lerp(grad, 0.1)
        second = self.get_buffer("second")[task].lerp(grad.square(), 0.001)
        for name, rows in (("count", count), ("first", first), ("second", second)):
            self.get_buffer(name).index_copy_(0, task, rows)
        root = (second / (1 - 0.999**count)).sqrt() + 1e-8
        values.index_add_(0, task, -LR * first / (1 - 0.9**count) / root)
