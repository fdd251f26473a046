"""Restricts an update to the active tasks, and clips gradients."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.optim import Adam

from torchrl_lite.network.task_rows import as_rows, by_row, task_parameters


class ActiveTasks:
    """Keeps per-task parameters and Adam moments of inactive tasks bit-identical; without a
    gradient, Adam's moments would otherwise keep moving the parameters.

    Adam has one update counter for all tasks. A task that joins late therefore starts without
    bias correction: its first few hundred steps are up to 6.6 times as large.
    """

    def __init__(self, module: nn.Module, num_tasks: int) -> None:
        self._per_task = {id(parameter) for parameter in task_parameters(module)}
        self._num_tasks = num_tasks

    @contextmanager
    def only(
        self,
        task: Int[Tensor, " T"],
        parameters: Sequence[Tensor],
        optimizer: Adam | None = None,
    ) -> Iterator[None]:
        """Undo what the block changes in other tasks' rows."""
        if len(task) == self._num_tasks:
            yield
            return
        still = [p for p in parameters if id(p) in self._per_task]
        if optimizer is not None:
            states = [optimizer.state[p] for p in still if p in optimizer.state]
            still += [state[key] for state in states for key in ("exp_avg", "exp_avg_sq")]
        before = [tensor.detach().clone() for tensor in still]
        yield
        moved = torch.zeros(self._num_tasks, dtype=torch.bool, device=task.device)
        moved.index_fill_(0, task, True)  # an assignment would copy True from the host
        with torch.no_grad():
            for tensor, old in zip(still, before, strict=True):
                tensor.copy_(torch.where(as_rows(moved, tensor), tensor, old))


def clip(grads: Sequence[Tensor], max_norm: float | None) -> Float[Tensor, ""]:
    """Scale gradients in place to a joint norm of at most ``max_norm``; returns it before that."""
    norm = nn.utils.get_total_norm(grads)
    if max_norm is not None:
        torch._foreach_mul_(list(grads), (max_norm / (norm + 1e-6)).clamp(max=1.0))
    return norm


def clip_each_task(grads: Sequence[Tensor], max_norm: float | None) -> Float[Tensor, " T"]:
    """`clip`, separately for every task: all gradients are of per-task parameters."""
    norm = torch.stack([by_row(grad).square().sum(1) for grad in grads]).sum(0).sqrt()
    if max_norm is not None:
        scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        for grad in grads:
            grad.mul_(as_rows(scale, grad))
    return norm
