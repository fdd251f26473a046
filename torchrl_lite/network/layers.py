"""Grouped linear layers and the MLP made of them.

Every layer computes ``E`` ensemble members and ``T`` task rows at once. A parameter that tasks
share has 1 in the place of ``T``; a parameter of their own has one row per task.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import sqrt
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize


class Fans(NamedTuple):
    """Inputs and outputs of a layer, whatever the shape of the tensor that holds its weights."""

    inputs: int
    outputs: int


Fill = Callable[[Tensor, Fans], None]
"""Fills a tensor of a layer in place."""


class Init(NamedTuple):
    """How the layers of a network start."""

    weight: Fill
    bias: Fill


def xavier_uniform(tensor: Tensor, fans: Fans) -> None:
    """Glorot & Bengio 2010, eq. 16."""
    bound = sqrt(6 / sum(fans))
    nn.init.uniform_(tensor, -bound, bound)


def xavier_normal(tensor: Tensor, fans: Fans) -> None:
    """Glorot & Bengio 2010, eq. 12, drawn from a normal."""
    nn.init.normal_(tensor, std=sqrt(2 / sum(fans)))


def he_uniform(tensor: Tensor, fans: Fans) -> None:
    """He et al. 2015, eq. 10, drawn from a uniform."""
    bound = sqrt(6 / fans.inputs)
    nn.init.uniform_(tensor, -bound, bound)


def lecun_uniform(tensor: Tensor, fans: Fans) -> None:
    """LeCun et al. 1998 as ``torch.nn.Linear`` starts, weights and biases: ±1/sqrt(fan_in)."""
    bound = 1 / sqrt(fans.inputs)
    nn.init.uniform_(tensor, -bound, bound)


def zeros(tensor: Tensor, _fans: Fans) -> None:
    nn.init.zeros_(tensor)


def uniform(bound: float) -> Fill:
    """Values in ±bound, as small output layers want them."""

    def fill(tensor: Tensor, _fans: Fans) -> None:
        nn.init.uniform_(tensor, -bound, bound)

    return fill


def grouped_linear(
    x: Float[Tensor, "e T B I"],
    weight: Float[Tensor, "E w I O"],
    bias: Float[Tensor, "E b O"],
    *,
    task: Int[Tensor, " T"],
    relu: bool = False,
) -> Float[Tensor, "E T B O"]:
    """``x @ weight + bias`` for each ensemble member and task row, and a ReLU if asked for.

    ``e`` is ``E`` or 1 (one input for all members); ``w`` and ``b`` are 1 (shared) or the number
    of tasks, whose rows are then chosen by ``task``. A shared weight is applied to all rows folded
    into one matrix: that is faster than a broadcast product.
    """
    ensemble, rows, batch = weight.shape[0], x.shape[1], x.shape[2]
    x = x.expand(ensemble, -1, -1, -1)
    # In place, and on what is no view: both spare autograd a copy.
    activate = torch.relu_ if relu else lambda out: out
    if weight.shape[1] > 1:
        flat = torch.bmm(x.flatten(0, 1), weight.index_select(1, task).flatten(0, 1))
        own = (bias[:, task] if bias.shape[1] > 1 else bias)[:, :, None]
        return activate(flat.view(ensemble, rows, batch, -1) + own)
    if bias.shape[1] > 1:
        flat = torch.bmm(x.flatten(1, 2), weight.squeeze(1))
        return activate(flat.view(ensemble, rows, batch, -1) + bias[:, task][:, :, None])
    if weight.shape[-1] == 1:  # a product with one column is slower than what it consists of
        return activate((x * weight.transpose(2, 3)).sum(-1, keepdim=True) + bias[:, :, None])
    flat = activate(torch.baddbmm(bias, x.flatten(1, 2), weight.squeeze(1)))
    return flat.view(ensemble, rows, batch, -1)


class EnsembleLinear(nn.Module):
    """A linear layer ``[E, T|1, in, out]``; see `grouped_linear`."""

    task_parameters: list[str]
    """Names of the parameters with a row per task, which is always their second dimension."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        ensemble: int = 1,
        weight_rows: int = 1,
        bias_rows: int = 1,
        init: Init,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(ensemble, weight_rows, in_features, out_features))
        self.bias = nn.Parameter(torch.empty(ensemble, bias_rows, out_features))
        rows = {"weight": weight_rows, "bias": bias_rows}
        self.task_parameters = [name for name, count in rows.items() if count > 1]
        fans = Fans(in_features, out_features)
        init.weight(self.weight.data, fans)
        init.bias(self.bias.data, fans)

    def forward(
        self, x: Float[Tensor, "e T B I"], task: Int[Tensor, " T"], *, relu: bool = False
    ) -> Float[Tensor, "E T B O"]:
        return grouped_linear(x, self.weight, self.bias, task=task, relu=relu)


class TaskEmbedding(nn.Module):
    """A learned vector of unit length per task, and the layer that reads it.

    Adding ``embedding @ weight`` to a layer's output is what concatenating the embedding to its
    input computes. BRC (Nauman et al. 2025, arXiv:2505.23150) has such vectors of 32 numbers; there
    the actor uses what the critics learn, here every network has its own.
    """

    task_parameters = ("rows",)

    def __init__(
        self, task_rows: int, size: int, out_features: int, *, ensemble: int, init: Fill
    ) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(ensemble, task_rows, size))
        self.weight = nn.Parameter(torch.empty(ensemble, size, out_features))
        init(self.weight.data, Fans(size, out_features))

    def forward(self, task: Int[Tensor, " T"]) -> Float[Tensor, "E T 1 O"]:
        return (normalize(self.rows[:, task], dim=-1) @ self.weight)[:, :, None]


class MLP(nn.Module):
    """Linear layers with ReLU between and, unless ``linear_output``, behind them.

    How the task enters: with ``weight_rows > 1`` each task has layers of its own; else with
    ``task_rows > 1`` the first layer has a bias row per task, which is exactly what a one-hot task
    id at the input computes, or with ``embedding_dim`` a learned embedding is added to it.
    """

    def __init__(
        self,
        in_features: int,
        hidden_shapes: Sequence[int],
        *,
        ensemble: int = 1,
        task_rows: int = 1,
        weight_rows: int = 1,
        embedding_dim: int | None = None,
        linear_output: bool = False,
        init: Init,
    ) -> None:
        super().__init__()
        self.linear_output = linear_output
        onehot = task_rows > 1 and weight_rows == 1 and embedding_dim is None
        layers = [
            EnsembleLinear(
                size_in,
                size_out,
                ensemble=ensemble,
                weight_rows=weight_rows,
                bias_rows=task_rows if onehot and depth == 0 else weight_rows,
                init=init,
            )
            for depth, (size_in, size_out) in enumerate(pairwise([in_features, *hidden_shapes]))
        ]
        if onehot:  # the bias rows are weights of a one-hot input and a bias: initialise them so
            fans = Fans(in_features + task_rows, hidden_shapes[0])
            stacked = torch.empty(ensemble, 1, *fans)
            bias = torch.empty(ensemble, 1, fans.outputs)
            init.weight(stacked, fans)
            init.bias(bias, fans)
            layers[0].weight.data.copy_(stacked[:, :, :in_features])
            layers[0].bias.data.copy_(stacked[:, 0, in_features:] + bias)
        self.layers = nn.ModuleList(layers)
        self.embedding = None
        if embedding_dim is not None and task_rows > 1 and weight_rows == 1:
            self.embedding = TaskEmbedding(
                task_rows, embedding_dim, hidden_shapes[0], ensemble=ensemble, init=init.weight
            )

    def forward(
        self, x: Float[Tensor, "e T B I"], task: Int[Tensor, " T"]
    ) -> Float[Tensor, "E T B H"]:
        last = len(self.layers) - 1
        for depth, layer in enumerate(self.layers):
            relu = depth < last or not self.linear_output
            if depth == 0 and self.embedding is not None:
                x = layer(x, task) + self.embedding(task)
                x = torch.relu(x) if relu else x
            else:
                x = layer(x, task, relu=relu)
        return x
