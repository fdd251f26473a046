"""Trunks of linear layers, plain or in residual blocks."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from torchrl_lite.network.initialisation import Init
from torchrl_lite.network.layers import EnsembleLinear, LayerNorm
from torchrl_lite.network.task_input import NO_TASK, TaskInput


class MLP(nn.Module):
    """Linear layers, each followed by a LayerNorm (if ``norm``) and a ReLU.

    ``residual``: each hidden size after the first is a block instead of a layer, as in BRC (Nauman
    et al. 2025, arXiv:2505.23150): linear, norm, ReLU, linear, norm, plus the block's input.
    ``linear_output``: the last layer has neither norm nor ReLU.
    """

    def __init__(
        self,
        in_features: int,
        hidden_shapes: Sequence[int],
        *,
        ensemble: int = 1,
        task_input: TaskInput = NO_TASK,
        norm: bool = False,
        residual: bool = False,
        linear_output: bool = False,
        init: Init,
    ) -> None:
        super().__init__()
        self.residual, self.linear_output = residual, linear_output
        first, *others = hidden_shapes
        outputs = [first, *(size for size in others for _ in range(2 if residual else 1))]
        rows = task_input.own_rows
        self.layers = nn.ModuleList(
            EnsembleLinear(
                size_in,
                size_out,
                ensemble=ensemble,
                weight_rows=rows,
                bias_rows=task_input.first_bias_rows if depth == 0 else rows,
                init=init,
            )
            for depth, (size_in, size_out) in enumerate(pairwise([in_features, *outputs]))
        )
        normed = outputs[: len(outputs) - linear_output] if norm else []
        self.norms = nn.ModuleList(LayerNorm(size) for size in normed)
        first_layer = self.layers[0]
        assert isinstance(first_layer, EnsembleLinear)
        self.embedding = task_input.enter(first_layer, init=init)

    def forward(
        self, x: Float[Tensor, "e T B I"], task: Int[Tensor, " T"]
    ) -> Float[Tensor, "E T B H"]:
        last = len(self.layers) - 1
        if not self.residual:
            for depth in range(len(self.layers)):
                x = self._layer(depth, x, task, relu=depth < last or not self.linear_output)
            return x
        x = self._layer(0, x, task, relu=True)
        for depth in range(1, last, 2):
            inner = self._layer(depth, x, task, relu=True)
            x = x + self._layer(depth + 1, inner, task, relu=False)
        return x

    def _layer(
        self, depth: int, x: Float[Tensor, "e T B I"], task: Int[Tensor, " T"], *, relu: bool
    ) -> Float[Tensor, "E T B H"]:
        embedding = self.embedding if depth == 0 else None
        norm = self.norms[depth] if depth < len(self.norms) else None
        if embedding is None and norm is None:
            return self.layers[depth](x, task, relu=relu)
        x = self.layers[depth](x, task)
        if embedding is not None:
            x = x + embedding(task)
        if norm is not None:
            x = norm(x)
        return torch.relu_(x) if relu else x
