"""The per-task parameters of a module; tasks are their second dimension, or their only one."""

from collections.abc import Sequence

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from torchrl_lite.network.layers import EnsembleLinear


def task_parameters(module: nn.Module) -> list[nn.Parameter]:
    """All per-task parameters."""
    return [part.get_parameter(name) for part in module.modules() for name in _declared(part)]


def places_of_task_rows(module: nn.Module) -> set[str]:
    """Names of all tensors whose second dimension is the tasks, or 1 if tasks share them."""
    linear = ("weight", "bias")
    return {
        f"{place}.{name}"
        for place, part in module.named_modules()
        for name in (linear if isinstance(part, EnsembleLinear) else _declared(part, buffers=True))
    }


def by_row(tensor: Tensor) -> Float[Tensor, "T n"]:
    """A per-task parameter with its task dimension (the second, or the only one) first."""
    return tensor[:, None] if tensor.ndim == 1 else tensor.transpose(0, 1).flatten(1)


def as_rows(values: Shaped[Tensor, " T"], tensor: Tensor) -> Tensor:
    """One value per task, shaped to broadcast over a per-task parameter."""
    return values if tensor.ndim == 1 else values.view(1, -1, *[1] * (tensor.ndim - 2))


def _declared(module: nn.Module, *, buffers: bool = False) -> Sequence[str]:
    own = getattr(module, "task_parameters", ())
    return (*own, *getattr(module, "task_buffers", ())) if buffers else own
