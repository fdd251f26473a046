"""Plain networks of any naming: consecutive linear layers with ReLU between them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchrl_lite.errors import CheckpointError

_IGNORED = re.compile("action_(scale|bias)|(actor_)?(log_?)?(std|sigma)(_param)?")
"""The action bounds of CleanRL's actors, and a standard deviation that is the same everywhere."""
_LOG_STD = re.compile("std|sigma", re.IGNORECASE)


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


def linears(tensors: Mapping[str, Tensor], prefix: str = "") -> dict[str, Linear]:
    """The linear layers under ``prefix``, in file order, by the names of their weights."""
    weights = {
        name: value
        for name, value in tensors.items()
        if name.startswith(prefix) and f".{name}".endswith(".weight") and value.ndim == 2
    }
    return {
        name: Linear(value, tensors.get(_bias_of(name), torch.zeros(len(value))))
        for name, value in weights.items()
    }


def _bias_of(weight: str) -> str:
    return f"{weight.removesuffix('weight')}bias"


def plain_actor(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """
    Raises:
        CheckpointError: it is not one chain of linear layers, possibly with two heads.
    """
    named = linears(tensors)
    names, layers = [*named], [*named.values()]
    if not layers:
        raise CheckpointError(f"{path}: has no linear layers of an actor")
    others = tensors.keys() - named - {_bias_of(name) for name in names}
    for name in sorted(others):
        if not _IGNORED.fullmatch(name.rpartition(".")[2]):
            raise CheckpointError(f"{path}: {name} is not of a linear layer; only these and ReLU")
    if len(layers) > 1 and _are_two_heads(*layers[-2:]):
        mean, log_std = layers[-2:]
        if _LOG_STD.search(names[-2]) and not _LOG_STD.search(names[-1]):
            mean, log_std = log_std, mean
        both = Linear(
            torch.cat((mean.weight, log_std.weight)), torch.cat((mean.bias, log_std.bias))
        )
        layers = [*layers[:-2], both]
    check_chain(layers, path)
    return body_of(layers)


def check_chain(layers: Sequence[Linear], path: Path) -> None:
    """
    Raises:
        CheckpointError: a layer does not take what the one before it returns.
    """
    inputs = layers[0].weight.shape[1]
    for layer in layers:
        if layer.weight.shape[1] != inputs or layer.bias.shape != layer.weight.shape[:1]:
            raise CheckpointError(f"{path}: the layers of its actor do not fit each other")
        inputs = len(layer.weight)


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
