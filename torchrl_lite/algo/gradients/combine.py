"""One gradient for a network's parameters from the losses of several tasks."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from torchrl_lite.algo.gradients.cosine import mean_cosine, products_of
from torchrl_lite.algo.gradients.method import Method, Progress
from torchrl_lite.network.role import Role
from torchrl_lite.network.task_copies import TaskCopies
from torchrl_lite.network.task_rows import as_rows, task_parameters


class Combiner:
    """Applies a method to the shared parameters of one network.

    Per-task parameters keep the gradient of the mean loss.
    """

    cosine: Float[Tensor, ""] | None = None
    """Mean cosine of the last gradients over all pairs of tasks; None if not measured."""

    def __init__(self, role: Role, method: Method, *, compiling: bool) -> None:
        self.method = method
        self._role = role
        own = {id(parameter) for parameter in task_parameters(role)}
        self._is_own = [id(parameter) in own for parameter in role.parameters()]
        self._facts: tuple[Tensor, Any, Tensor]
        # The copies must be the tensors that autograd knows. No decorator: it would import the
        # compiler in every process that acts.
        outside = torch.compiler.disable if compiling else lambda function: function
        self._copies = TaskCopies(role.body) if method.NEEDS_PRODUCTS else None
        if self._copies:
            role.per_task_body = outside(self._copies)
        self.gradients = outside(self._gradients)

    def _gradients(self, losses: Float[Tensor, " n"], task: Int[Tensor, " n"]) -> list[Tensor]:
        """The combined gradient of each parameter of the network."""
        if self._copies:
            return self._of_each_task(losses, task, self._copies.take())
        return self._of_weighted_loss(losses, task)

    def learn(self, progress: Progress | None) -> None:
        """After the network's step; see `Method.learn`."""
        losses, products, task = self._facts
        if len(task) > 1:
            self.method.learn(losses, products, task, progress=progress)

    def _of_each_task(
        self,
        losses: Float[Tensor, " n"],
        task: Int[Tensor, " n"],
        copies: Sequence[Tensor],
    ) -> list[Tensor]:
        parameters = zip(self._role.parameters(), self._is_own, strict=True)
        own = [parameter for parameter, is_own in parameters if is_own]
        grads = torch.autograd.grad(losses.sum(), [*copies, *own])
        each = [grad.flatten(1) for grad in grads[: len(copies)]]
        w = self._weights(losses, products_of(each), task)
        combined = (w @ grad for grad in each)
        means = (grad / len(task) for grad in grads[len(copies) :])
        return [
            next(means if is_own else combined).view_as(parameter)
            for parameter, is_own in zip(self._role.parameters(), self._is_own, strict=True)
        ]

    def _of_weighted_loss(
        self, losses: Float[Tensor, " n"], task: Int[Tensor, " n"]
    ) -> list[Tensor]:
        w = self._weights(losses, None, task)
        grads = torch.autograd.grad((w * losses).sum(), list(self._role.parameters()))
        unweighted = w.new_ones(self.method.num_tasks)
        unweighted.index_copy_(0, task, 1 / (len(task) * w))
        return [
            grad * as_rows(unweighted, grad) if is_own else grad
            for grad, is_own in zip(grads, self._is_own, strict=True)
        ]

    @torch.no_grad()
    def _weights(self, losses: Tensor, products: Any, task: Int[Tensor, " n"]) -> Tensor:
        n = len(task)
        self._facts = losses.detach(), products, task
        if n == 1:  # one stage of a curriculum: nothing to combine
            self.cosine = None
            return torch.ones_like(losses)
        if products is not None:
            self.cosine = mean_cosine(products)
        return self.method.weights(*self._facts)


def combiners(
    method: type[Method] | None, learner: nn.Module, num_tasks: int, *, compiling: bool
) -> dict[str, Combiner]:
    """For a learner's critic and, unless the method needs positive losses, its actor."""
    if method is None:
        return {}
    found = {}
    for name in ("critic",) if method.NEEDS_POSITIVE_LOSSES else ("critic", "actor"):
        role = learner.get_submodule(name)
        assert isinstance(role, Role)
        device = role.obs_mask.device
        found[name] = Combiner(role, method(num_tasks).to(device), compiling=compiling)
    return found
