"""The gradient of every task with respect to shared parameters, at the cost of about one."""

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, vmap

from torchrl_lite.network.task_rows import task_parameters


class TaskCopies:
    """Computes a body with a copy of every shared parameter for each task.

    The copies are views of the same memory, so the outputs are the same up to rounding. A task's
    loss depends on its own copies alone: the gradient of the sum of all losses with respect to the
    copies holds every task's gradient. One backward pass computes them all. A pass per task, or
    ``torch.autograd.grad(..., is_grads_batched=True)``, would take all rows through it T times.
    """

    def __init__(self, body: nn.Module) -> None:
        own = {id(parameter) for parameter in task_parameters(body)}
        named = dict(body.named_parameters())
        self._body = body
        self._shared = {name: p for name, p in named.items() if id(p) not in own}
        self._latest: tuple[Tensor, ...] = ()

    def __call__(
        self, x: Float[Tensor, "e T B I"], task: Int[Tensor, " T"]
    ) -> Float[Tensor, "E T B O"]:
        if not self._latest or len(self._latest[0]) != len(task):
            self._latest = tuple(p.expand(len(task), *p.shape) for p in self._shared.values())
        copies = dict(zip(self._shared, self._latest, strict=True))

        def one_task(copies: dict[str, Tensor], x: Tensor, task: Tensor) -> Tensor:
            return functional_call(self._body, copies, (x[:, None], task[None]))

        return vmap(one_task, in_dims=(0, 1, 0), out_dims=1)(copies, x, task).squeeze(2)

    def take(self) -> tuple[Tensor, ...]:
        """The copies ``[T, *shape]`` of all calls since the last time, in the parameters' order."""
        latest, self._latest = self._latest, ()
        return latest
