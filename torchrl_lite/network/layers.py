"""Layers for ensembles and tasks: a grouped linear layer, and normalisation.

Every layer computes ``E`` ensemble members and ``T`` tasks at once. The task dimension of a
parameter is 1 if all tasks share it, else the number of tasks.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from torchrl_lite.network.initialisation import Init


def grouped_linear(
    x: Float[Tensor, "e T B I"],
    weight: Float[Tensor, "E w I O"],
    bias: Float[Tensor, "E b O"],
    *,
    task: Int[Tensor, " T"],
    relu: bool = False,
) -> Float[Tensor, "E T B O"]:
    """``x @ weight + bias`` for each ensemble member and task, with an optional ReLU.

    ``e`` is ``E`` or 1 (one input for all members); ``w`` and ``b`` are 1 (shared) or the number
    of tasks, which ``task`` then indexes. A shared weight is applied to all tasks folded into one
    matrix: this is faster than a broadcast product.
    """
    x = x.expand(weight.shape[0], -1, -1, -1)
    shape = (*x.shape[:3], weight.shape[-1])
    # In place, and not on a view: both save autograd a copy.
    activate = torch.relu_ if relu else lambda out: out
    if weight.shape[1] > 1:
        flat = torch.bmm(x.flatten(0, 1), weight.index_select(1, task).flatten(0, 1))
        own = (bias[:, task] if bias.shape[1] > 1 else bias)[:, :, None]
        return activate(flat.view(shape) + own)
    if bias.shape[1] > 1:
        flat = torch.bmm(x.flatten(1, 2), weight.squeeze(1))
        return activate(flat.view(shape) + bias[:, task][:, :, None])
    if weight.shape[-1] == 1:  # a one-column product is slower than multiply and sum
        return activate((x * weight.transpose(2, 3)).sum(-1, keepdim=True) + bias[:, :, None])
    flat = activate(torch.baddbmm(bias, x.flatten(1, 2), weight.squeeze(1)))
    return flat.view(shape)


class EnsembleLinear(nn.Module):
    """A linear layer ``[E, T|1, in, out]``; see `grouped_linear`."""

    task_parameters: list[str]
    """Names of the per-task parameters; tasks are their second dimension."""

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
        init(self.weight, self.bias)

    def forward(
        self, x: Float[Tensor, "e T B I"], task: Int[Tensor, " T"], *, relu: bool = False
    ) -> Float[Tensor, "E T B O"]:
        return grouped_linear(x, self.weight, self.bias, task=task, relu=relu)


class LayerNorm(nn.Module):
    """LayerNorm over the features (Ba et al. 2016, arXiv:1607.06450), without scale and shift:
    their gradients would take a sixth of the update time of a small network.
    """

    ones: Tensor
    zeros: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        # torch's CPU kernel is twice as fast with a scale of 1 and a shift of 0 as without them.
        self.register_buffer("ones", torch.ones(features), persistent=False)
        self.register_buffer("zeros", torch.zeros(features), persistent=False)

    def forward(self, x: Float[Tensor, "*rows H"]) -> Float[Tensor, "*rows H"]:
        return layer_norm(x, x.shape[-1:], self.ones, self.zeros)
