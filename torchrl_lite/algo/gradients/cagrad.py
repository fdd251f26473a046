"""CAGrad, conflict-averse gradient descent (Liu et al. 2021, arXiv:2110.14048).

Of all directions d with |d - g_0| <= c |g_0|, where g_0 is the mean gradient, the one whose
smallest product with a task's gradient is largest (eq. 3). Its dual is over weights w of the tasks
that sum to 1 (eq. 4 and algorithm 1), with g_w = sum_i w_i g_i:

    min_w  g_w . g_0 + sqrt(phi) |g_w|,   phi = c^2 |g_0|^2;    d = g_0 + sqrt(phi) / |g_w|  g_w

Deviations:

1. The dual is solved by 40 steps of exponentiated gradient descent on the device. (The authors:
   scipy, or for Meta-World 20 steps of SGD on the logits of w.) Any w satisfies the constraint; one
   that is not optimal only helps the worst task less.
2. No division by 1 + c^2, which the authors' code has and the paper does not.
3. Both critics are one vector, since they share an optimiser.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from torchrl_lite.algo.gradients.method import Method, PerTask, Products, Tasks

C = 0.5
"""The authors' value for MT50; their command for MT10 has 0.9."""
STEPS = 40


class CAGrad(Method):
    """Solves the dual with the products of the gradients alone."""

    def weights(self, losses: PerTask, products: Products, task: Tasks) -> PerTask:  # noqa: ARG002
        tiny = torch.finfo(products.dtype).tiny
        scaled = products / products.diagonal().mean().clamp(min=tiny)
        root_phi = C * scaled.mean().clamp(min=0).sqrt()  # g_0 . g_0 is the mean of all products
        w = _dual(scaled, root_phi)
        return 1 / len(task) + root_phi * w / _norm(scaled, w)


def _norm(products: Products, w: PerTask) -> Float[Tensor, ""]:
    """|g_w|; below a thousandth of the gradients it is rounding."""
    return ((w @ products) * w).sum().clamp(min=1e-6).sqrt()


def _dual(products: Products, root_phi: Float[Tensor, ""]) -> PerTask:
    """The best w found; a step that fails is halved, one that succeeds is doubled."""
    along = products.mean(1)  # g_i . g_0
    w = torch.full_like(along, 1 / len(along))
    size = torch.full_like(root_phi, len(along))
    least = (w * along).sum() + root_phi * _norm(products, w)
    for _ in range(STEPS):
        slope = along + root_phi * (products @ w) / _norm(products, w)
        tried = (w.clamp(min=1e-30).log() - size * slope).softmax(0)
        value = (tried * along).sum() + root_phi * _norm(products, tried)
        w = torch.where(value < least, tried, w)
        size = torch.where(value < least, 2 * size, size / 2)
        least = torch.minimum(value, least)
    return w
