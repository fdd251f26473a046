"""FAMO, fast adaptive multitask optimization (Liu et al. 2023, arXiv:2306.03792), algorithm 1.

With logits xi of the tasks and z = softmax(xi), a step follows the gradient of the logarithms of
the losses, and the logits follow how much each loss l_i fell by the step (l'_i is the loss after):

    sum_i w_i grad l_i,   w_i = c z_i / l_i,   c = 1 / sum_j z_j / l_j
    delta_i = log l_i - log l'_i,   xi <- xi - beta (J^T delta + gamma xi),   J = d z / d xi

A task whose loss falls faster than that of others loses weight. l' is the loss of the same
transitions and targets, which takes a forward pass without gradient.

The authors' code for Meta-World does the following, and so does this:

1. Only the critics are weighted; an actor's loss can be negative, so it has no logarithm.
2. Adam makes the step on the logits, where gamma xi is part of the gradient.
3. 1e-8 is added to losses.

Deviations of our own:

4. delta is measured on half of the batch; all of it would cost an eighth of an update.
5. Per-task parameters keep the gradient of their task's loss / n, without w.
6. c is the paper's; the authors' code for Meta-World multiplies by its denominator instead.
"""

import torch
from torch import Tensor

from torchrl_lite.algo.gradients.method import Method, PerTask, Progress, RowAdam, Tasks

GAMMA, EPS = 0.01, 1e-8


class FAMO(Method):
    """Logits of the tasks, and their optimiser."""

    NEEDS_PRODUCTS = False
    NEEDS_POSITIVE_LOSSES = True
    logits: Tensor

    def __init__(self, num_tasks: int) -> None:
        super().__init__(num_tasks)
        self.register_buffer("logits", torch.zeros(num_tasks))
        self.adam = RowAdam(num_tasks)

    def weights(self, losses: PerTask, products: None, task: Tasks) -> PerTask:  # noqa: ARG002
        per_loss = self.logits[task].softmax(0) / (losses + EPS)
        return per_loss / per_loss.sum()

    @torch.no_grad()
    def learn(
        self,
        losses: PerTask,  # noqa: ARG002
        products: None,  # noqa: ARG002
        task: Tasks,
        *,
        progress: Progress | None,
    ) -> None:
        assert progress is not None
        before, after = progress()
        xi = self.logits[task]
        z = xi.softmax(0)
        delta = (before + EPS).log() - (after + EPS).log()
        along = z * (delta - (z * delta).sum())  # J^T delta
        self.adam(self.logits, along + GAMMA * xi, task)
