"""Grouped linear layers and the MLP made of them.

Every layer computes ``E`` ensemble members and ``T`` task rows at once. A parameter that tasks
share has 1 in the place of ``T``; a parameter of their own has one row per task.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import sqrt

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

Init = Callable[[Tensor], None]
"""Fills a weight ``[..., in, out]`` in place."""


def _fans(weight: Tensor) -> tuple[int, int]:
    return weight.shape[-2], weight.shape[-1]


def xavier_uniform(weight: Tensor) -> None:
    """Glorot & Bengio 2010, eq. 16."""
    fan_in, fan_out = _fans(weight)
    bound = sqrt(6 / (fan_in + fan_out))
    nn.init.uniform_(weight, -bound, bound)


def xavier_normal(weight: Tensor) -> None:
    """Glorot & Bengio 2010, eq. 12, drawn from a normal."""
    fan_in, fan_out = _fans(weight)
    nn.init.normal_(weight, std=sqrt(2 / (fan_in + fan_out)))


def he_uniform(weight: Tensor) -> None:
    """He et al. 2015, eq. 10, drawn from a uniform."""
    bound = sqrt(6 / weight.shape[-2])
    nn.init.uniform_(weight, -bound, bound)


def zeros(weight: Tensor) -> None:
    nn.init.zeros_(weight)


def uniform(bound: float) -> Init:
    """Weights in ±bound, as small output layers want them."""

    def fill(weight: Tensor) -> None:
        nn.init.uniform_(weight, -bound, bound)

    return fill


def grouped_linear(
    x: Float[Tensor, "e T B I"],
    weight: Float[Tensor, "E w I O"],
    bias: Float[Tensor, "E b O"],
    *,
    task: Int[Tensor, "T"],
) -> Float[Tensor, "E T B O"]:
    """``x @ weight + bias`` for each ensemble member and task row.

    ``e`` is ``E`` or 1 (one input for all members); ``w`` and ``b`` are 1 (shared) or the number
    of tasks, whose rows are then chosen by ``task``. A shared weight is applied to all rows folded
    into one matrix: that is faster than a broadcast product.
    """
    ensemble, rows, batch = weight.shape[0], x.shape[1], x.shape[2]
    x = x.expand(ensemble, -1, -1, -1)
    if weight.shape[1] > 1:
        flat = torch.bmm(x.flatten(0, 1), weight[:, task].flatten(0, 1))
        out = flat.view(ensemble, rows, batch, -1)
        return out + (bias[:, task] if bias.shape[1] > 1 else bias)[:, :, None]
    if bias.shape[1] > 1:
        out = torch.bmm(x.flatten(1, 2), weight[:, 0]).view(ensemble, rows, batch, -1)
        return out + bias[:, task][:, :, None]
    return torch.baddbmm(bias, x.flatten(1, 2), weight[:, 0]).view(ensemble, rows, batch, -1)


class EnsembleLinear(nn.Module):
    """A linear layer ``[E, T|1, in, out]``; see `grouped_linear`."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        ensemble: int = 1,
        weight_rows: int = 1,
        bias_rows: int = 1,
        init: Init,
        bias_init: Init = zeros,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(ensemble, weight_rows, in_features, out_features))
        self.bias = nn.Parameter(torch.empty(ensemble, bias_rows, out_features))
        init(self.weight.data)
        bias_init(self.bias.data)

    def forward(
        self, x: Float[Tensor, "e T B I"], task: Int[Tensor, "T"]
    ) -> Float[Tensor, "E T B O"]:
        return grouped_linear(x, self.weight, self.bias, task=task)


class MLP(nn.Module):
    """ReLU layers on features.

    With ``task_rows > 1`` the first layer has a bias row per task. That is exactly what a one-hot
    task id at the input computes, without the columns.
    """

    def __init__(
        self,
        in_features: int,
        hidden_shapes: Sequence[int],
        *,
        ensemble: int = 1,
        task_rows: int = 1,
        init: Init,
    ) -> None:
        super().__init__()
        sizes = [in_features, *hidden_shapes]
        layers = [
            EnsembleLinear(
                size_in,
                size_out,
                ensemble=ensemble,
                bias_rows=task_rows if depth == 0 else 1,
                init=init,
            )
            for depth, (size_in, size_out) in enumerate(pairwise(sizes))
        ]
        if task_rows > 1:  # the bias rows are weights of a one-hot input: initialise them so
            stacked = torch.empty(ensemble, 1, in_features + task_rows, sizes[1])
            init(stacked)
            layers[0].weight.data.copy_(stacked[:, :, :in_features])
            layers[0].bias.data.copy_(stacked[:, 0, in_features:])
        self.layers = nn.ModuleList(layers)

    def forward(
        self, x: Float[Tensor, "e T B I"], task: Int[Tensor, "T"]
    ) -> Float[Tensor, "E T B H"]:
        for layer in self.layers:
            x = torch.relu(layer(x, task))
        return x
