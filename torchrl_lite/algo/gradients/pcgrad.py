"""PCGrad, projecting conflicting gradients (Yu et al. 2020, arXiv:2001.06782), algorithm 1.

For each task i, with g = g_i, and the other tasks j in random order:

    if g . g_j < 0:  g <- g - (g . g_j) / |g_j|^2  g_j

Deviations:

1. The result is the mean of the projected gradients; the paper has their sum. Without conflicts it
   is then the gradient of the mean loss, and a gradient clip means the same.
2. Both critics are one vector, since they share an optimiser.
"""

import torch
from torch import Tensor

from torchrl_lite.algo.gradients.method import Method, PerTask, Products, Tasks


class PCGrad(Method):
    """Projects every gradient, as the coefficients by which it is made of all gradients."""

    order: Tensor

    def __init__(self, num_tasks: int) -> None:
        super().__init__(num_tasks)
        self.register_buffer("order", torch.zeros(num_tasks, num_tasks), persistent=False)

    def draw(self, generator: torch.Generator) -> None:
        """Row i sorted is the order of the tasks that g_i is projected on."""
        self.order.uniform_(generator=generator)

    def weights(self, losses: PerTask, products: Products, task: Tasks) -> PerTask:  # noqa: ARG002
        n = len(task)
        order = self.order[:n, :n].argsort(1)
        squares = products.diagonal().clamp(min=torch.finfo(products.dtype).tiny)
        made_of = torch.eye(n, dtype=products.dtype, device=products.device)
        others = 1 - made_of
        for j in order.T[:, :, None]:  # [n, 1]: for every task i, the task whose turn it is
            along = (made_of * products[j[:, 0]]).sum(1, keepdim=True)  # g . g_j
            conflict = along.clamp(max=0) * others.gather(1, j)
            made_of = made_of.scatter_add(1, j, -conflict / squares[j])
        return made_of.mean(0)
