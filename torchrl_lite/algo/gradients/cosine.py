"""How far the gradients of several tasks agree."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from torchrl_lite.network.role import Role
from torchrl_lite.network.task_copies import TaskCopies


def products_of(gradients: Sequence[Float[Tensor, "n _"]]) -> Float[Tensor, "n n"]:
    """The inner product of each pair of tasks' gradients, which are given in parts."""
    return torch.stack([part @ part.T for part in gradients]).sum(0)


def mean_cosine(products: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    """The mean cosine over all pairs of different tasks."""
    n = len(products)
    norms = products.diagonal().sqrt().clamp(min=torch.finfo(products.dtype).tiny)
    cosines = products / norms / norms[:, None]
    return (cosines.sum() - cosines.diagonal().sum()) / (n * (n - 1))


def shared_gradients(
    role: Role, losses: Callable[[], Float[Tensor, " n"]]
) -> list[Float[Tensor, "n _"]]:
    """The gradient of each task's loss in each shared parameter of a network, which ``losses``
    computes once. Leaves the network unchanged."""
    before, copies = role.per_task_body, TaskCopies(role.body)
    role.per_task_body = copies
    try:
        with torch.enable_grad():
            total = losses().sum()
    finally:
        role.per_task_body = before
    return [grad.flatten(1) for grad in torch.autograd.grad(total, copies.take())]
