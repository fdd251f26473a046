"""Plain networks of any naming: consecutive linear layers with ReLU between them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchrl_lite.errors import CheckpointError


def check_names(tensors: Mapping[Any, Any], path: Path) -> None:
    for name, value in tensors.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path}: {name!r} is not a named tensor, as a state_dict requires"
            )


class Linear(NamedTuple):
    weight: Tensor
    """``[out, in]``, as in ``torch.nn.Linear``."""
    bias: Tensor


def linears(tensors: Mapping[str, Tensor], prefix: str = "") -> list[Linear]:
    """The linear layers under ``prefix``, in file order."""
    weights = {
        name: value
        for name, value in tensors.items()
        if name.startswith(prefix) and f".{name}".endswith(".weight") and value.ndim == 2
    }
    return [
        Linear(value, tensors.get(f"{name.removesuffix('weight')}bias", torch.zeros(len(value))))
        for name, value in weights.items()
    ]


def plain_actor(layers: list[Linear], path: Path) -> dict[str, Tensor]:
    if not layers:
        raise CheckpointError(f"{path}: has no linear layers of an actor")
    if len(layers) > 1 and _are_two_heads(*layers[-2:]):
        mean, log_std = layers[-2:]
        both = Linear(
            torch.cat((mean.weight, log_std.weight)), torch.cat((mean.bias, log_std.bias))
        )
        layers = [*layers[:-2], both]
    return body_of(layers)


def _are_two_heads(one: Linear, other: Linear) -> bool:
    """Whether two layers share their input, instead of one feeding the other."""
    return one.weight.shape == other.weight.shape and len(one.weight) != other.weight.shape[1]


def body_of(layers: Sequence[Linear]) -> dict[str, Tensor]:
    """A plain network in our names and layout."""
    named: dict[str, Tensor] = {}
    for depth, layer in enumerate(layers):
        place = "head" if depth == len(layers) - 1 else f"trunk.layers.{depth}"
        named[f"body.{place}.weight"] = layer.weight.T[None, None]
        named[f"body.{place}.bias"] = layer.bias[None, None]
    return named
