"""GradNorm, gradient normalization (Chen et al. 2018, arXiv:1711.02257), algorithm 1.

Weights w of the tasks' losses, trained so that all weighted gradients have similar norms, and that
tasks which learn slowly have larger ones. With G_i = w_i |grad l_i| (section 3.1):

    L_grad = sum_i | G_i - mean(G) r_i^alpha |   (eq. 2; the second term is constant),
    r_i = (l_i / l_i(0)) / mean_j (l_j / l_j(0))

The network's step uses w; then comes a step of Adam on L_grad, and w is scaled to the sum n.

Deviations:

1. The norms are over all shared parameters; in the paper, over the last shared layer.
2. An actor's loss can be negative, so it has no rate: r_i = 1 there.
3. No weight falls below 0.01; the paper's could become negative.
4. Per-task parameters keep the gradient of their task's loss / n, without w.
"""

import torch
from torch import Tensor

from torchrl_lite.algo.gradients.method import Method, PerTask, Products, Progress, RowAdam, Tasks

ALPHA = 0.12
"""The paper's value for tasks of similar difficulty, and that of metaworld-algorithms."""
SMALLEST = 0.01


class GradNorm(Method):
    """Weights of the tasks, their optimiser, and the first loss of each task."""

    task_weights: Tensor
    first_losses: Tensor

    def __init__(self, num_tasks: int) -> None:
        super().__init__(num_tasks)
        self.register_buffer("task_weights", torch.ones(num_tasks))
        self.register_buffer("first_losses", torch.full((num_tasks,), torch.inf))
        self.adam = RowAdam(num_tasks)

    def weights(self, losses: PerTask, products: Products, task: Tasks) -> PerTask:  # noqa: ARG002
        w = self.task_weights[task]
        return w / w.sum()  # of the tasks that train, in a curriculum

    @torch.no_grad()
    def learn(
        self, losses: PerTask, products: Products, task: Tasks, *, progress: Progress | None
    ) -> None:
        norms = products.diagonal().clamp(min=0).sqrt()
        weighted = len(task) * self.weights(losses, products, task) * norms
        target = weighted.mean() * (1 if progress is None else self._rates(losses, task) ** ALPHA)
        self.adam(self.task_weights, norms * (weighted - target).sign(), task)
        w = self.task_weights[task].clamp(min=SMALLEST)
        self.task_weights.index_copy_(0, task, len(task) * w / w.sum())

    def _rates(self, losses: PerTask, task: Tasks) -> PerTask:
        """How slowly each task learns: 1 on average."""
        first = self.first_losses[task]
        first = torch.where(first.isinf(), losses, first)
        self.first_losses.index_copy_(0, task, first)
        left = losses / first
        return left / left.mean()
