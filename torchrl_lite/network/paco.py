"""PaCo, parameter-compositional networks (Sun et al. 2022, arXiv:2210.11653).

``K`` sets of parameters span a subspace; a vector per task picks that task's network from it:

    theta_task = Phi w_task,    Phi = [phi_1 ... phi_K]

Every weight and bias of the network, the head's included, is composed with the same ``w_task``.
All tasks train ``Phi``, each task trains its own ``w``.

The authors' code does the following, and so does this:

1. ``w`` is free: no softmax, no normalisation and no regulariser.
2. The network has no other task input.

Deviations of our own:

3. The sets start independently; in the authors' code with equal values. ``w`` starts with unit
   length in a random direction, so that composed layers start with the variance of ``net.init``.
4. The actor and each critic have their own ``w``, as in metaworld-algorithms; in the authors' code
   they share one.
5. Tasks whose loss explodes are reset only if asked to; see `algo.paco_reset`.
"""

from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from torchrl_lite.config import NetConfig
from torchrl_lite.network.initialisation import Init
from torchrl_lite.network.layers import LayerNorm
from torchrl_lite.network.shape import Shape


class ComposedLinear(nn.Module):
    """A linear layer for each of ``K`` parameter sets."""

    def __init__(
        self, in_features: int, out_features: int, *, ensemble: int, sets: int, init: Init
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(ensemble, sets, in_features, out_features))
        self.bias = nn.Parameter(torch.empty(ensemble, sets, out_features))
        init(self.weight, self.bias)

    def forward(
        self, x: Float[Tensor, "e T B I"], w: Float[Tensor, "E T K"]
    ) -> Float[Tensor, "E T B O"]:
        """Composes parameters, not outputs: that costs K / B of the product instead of K times."""
        ensemble, rows = w.shape[:2]
        weight = (w @ self.weight.flatten(2)).view(ensemble * rows, *self.weight.shape[2:])
        bias = (w @ self.bias).flatten(0, 1)[:, None]
        flat = torch.baddbmm(bias, x.expand(ensemble, -1, -1, -1).flatten(0, 1), weight)
        return flat.view(ensemble, rows, x.shape[2], -1)


class PacoNetwork(nn.Module):
    """Hidden layers and a linear output, all composed."""

    task_parameters = ("w",)

    def __init__(self, net: NetConfig, shape: Shape) -> None:
        super().__init__()
        sets, ensemble, sizes = net.paco.num_sets, shape.ensemble, shape.hidden

        def layer(size_in: int, size_out: int, init: Init) -> ComposedLinear:
            return ComposedLinear(size_in, size_out, ensemble=ensemble, sets=sets, init=init)

        self.hidden = nn.ModuleList(
            layer(size_in, size_out, shape.scheme.hidden)
            for size_in, size_out in pairwise([shape.inputs, *sizes])
        )
        self.norms = nn.ModuleList(LayerNorm(size) for size in sizes if net.norm == "layer")
        self.head = layer(sizes[-1], shape.outputs, shape.scheme.head)
        self.w = nn.Parameter(normalize(torch.randn(ensemble, shape.num_tasks, sets), dim=-1))

    def forward(
        self, x: Float[Tensor, "e T B I"], task: Int[Tensor, " T"]
    ) -> Float[Tensor, "E T B O"]:
        w = self.w[:, task]
        for depth, layer in enumerate(self.hidden):
            x = layer(x, w)
            x = torch.relu_(self.norms[depth](x) if self.norms else x)
        return self.head(x, w)
