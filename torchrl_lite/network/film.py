"""FiLM, feature-wise linear modulation (Perez et al. 2018, arXiv:1709.07871).

Every hidden unit is scaled and shifted by two numbers of the task (eq. 2), between the
normalisation and the ReLU:

    FiLM(h) = gamma_task * h + beta_task

Deviations from the paper:

1. ``gamma`` and ``beta`` are parameters with a row per task. In the paper, networks compute them
   from the condition (eq. 1); for a task index, a free row is just as expressive.
2. ``gamma = 1 + delta``, as in the paper. Here ``delta`` and ``beta`` start at zero, so that all
   tasks start with the same network.
3. The hidden layers of actor and critics are modulated, and there is no other task input.
   mtrl and metaworld-algorithms modulate the layers of a small encoder, each by a single ``gamma``
   and a single ``beta``, after the ReLU.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from torchrl_lite.config import NetConfig
from torchrl_lite.network.mlp import MLP
from torchrl_lite.network.shape import Shape


class FiLM(nn.Module):
    """Scale and shift of ``H`` units, by the task."""

    task_parameters = ("delta", "beta")

    def __init__(self, features: int, *, num_tasks: int, ensemble: int) -> None:
        super().__init__()
        self.delta = nn.Parameter(torch.zeros(ensemble, num_tasks, features))
        self.beta = nn.Parameter(torch.zeros(ensemble, num_tasks, features))

    def forward(
        self, x: Float[Tensor, "E T B H"], task: Int[Tensor, " T"]
    ) -> Float[Tensor, "E T B H"]:
        gamma, beta = 1 + self.delta[:, task], self.beta[:, task]
        return torch.addcmul(beta[:, :, None], x, gamma[:, :, None])


class FilmMLP(MLP):
    """An MLP whose hidden units are modulated by the task."""

    def __init__(self, net: NetConfig, shape: Shape) -> None:
        super().__init__(
            shape.inputs,
            shape.hidden,
            ensemble=shape.ensemble,
            norm=net.norm == "layer",
            init=shape.scheme.hidden,
        )
        self.films = nn.ModuleList(
            FiLM(size, num_tasks=shape.num_tasks, ensemble=shape.ensemble) for size in shape.hidden
        )

    def _layer(
        self, depth: int, x: Float[Tensor, "e T B I"], task: Int[Tensor, " T"], *, relu: bool
    ) -> Float[Tensor, "E T B H"]:
        x = self.layers[depth](x, task)
        x = self.films[depth](self.norms[depth](x) if self.norms else x, task)
        return torch.relu_(x) if relu else x
