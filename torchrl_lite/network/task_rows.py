"""The per-task parameters of a module; tasks are always their second dimension."""

from collections.abc import Sequence

from torch import nn

from torchrl_lite.network.layers import EnsembleLinear


def task_parameters(module: nn.Module) -> list[nn.Parameter]:
    """All per-task parameters."""
    return [part.get_parameter(name) for part in module.modules() for name in _declared(part)]


def places_of_task_rows(module: nn.Module) -> set[str]:
    """Names of all parameters whose second dimension is the tasks, or 1 if tasks share them."""
    linear = ("weight", "bias")
    return {
        f"{place}.{name}"
        for place, part in module.named_modules()
        for name in (linear if isinstance(part, EnsembleLinear) else _declared(part))
    }


def _declared(module: nn.Module) -> Sequence[str]:
    return getattr(module, "task_parameters", ())
