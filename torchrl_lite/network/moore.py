"""MOORE, a mixture of orthogonal experts (Hendawy et al. 2024, arXiv:2311.11385).

``K`` experts represent a state as ``U = [u_1 ... u_K]``. The Gram-Schmidt process makes the
representations of each state orthonormal, and a vector per task mixes them:

    V = GramSchmidt(U),    v_task = V w_task,    output = f_task(v_task)

The authors' code for Meta-World does the following, and so does this:

1. The last layer of an expert has no ReLU, and a tanh stands behind the mixture.
2. The output is a linear layer per task (multi-head).
3. ``w`` is free: no softmax and no bias.

Deviations of our own:

4. A residual of the projections that is shorter than a hundredth of its representation, or than
   0.01, is not normalised: at low matrix precision it is rounding error. The authors divide by any
   length, even 0.
5. ``w`` starts as a layer on a one-hot task under ``net.init``; in the authors' code by Xavier.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from torchrl_lite.config import NetConfig
from torchrl_lite.network.mlp import MLP
from torchrl_lite.network.shape import Shape

SHORTEST = 1e-2
"""Shortest residual that is normalised, relative to its representation."""


def gram_schmidt(gram: Float[Tensor, "*rows K K"]) -> Float[Tensor, "*rows K K"]:
    """The Gram-Schmidt process on vectors whose inner products are ``gram``.

    Row k holds the coefficients of the k-th orthonormal vector: ``V = C U``, where C is triangular.
    Working on inner products costs a third of working on the vectors.
    """
    size = gram.shape[-1]
    identity = torch.eye(size, dtype=gram.dtype, device=gram.device)
    rows: list[Tensor] = []
    for k in range(size):
        row, square = identity[k].expand(gram.shape[:-1]), gram[..., k, k, None]
        for unit in rows:
            along = (unit * gram[..., k]).sum(-1, keepdim=True)
            row, square = row - along * unit, square - along.square()
        shortest = SHORTEST**2 * (1 + gram[..., k, k, None])  # representations may be all zero
        rows.append(row * torch.maximum(square, shortest).rsqrt())
    return torch.stack(rows, dim=-2)


class MooreTrunk(nn.Module):
    """Experts, and each task's mixture of their orthonormal representations."""

    task_parameters = ("w",)

    def __init__(self, net: NetConfig, shape: Shape) -> None:
        super().__init__()
        self.num_experts, init = net.moore.num_experts, shape.scheme.hidden
        self.experts = MLP(
            shape.inputs,
            shape.hidden,
            ensemble=shape.ensemble * self.num_experts,  # experts are members of an ensemble, too
            norm=net.norm == "layer",
            linear_output=True,
            init=init,
        )
        self.w = nn.Parameter(torch.empty(shape.ensemble, shape.num_tasks, self.num_experts))
        init.weight(self.w.data, shape.num_tasks, self.num_experts)

    def forward(
        self, x: Float[Tensor, "1 T B I"], task: Int[Tensor, " T"]
    ) -> Float[Tensor, "E T B H"]:
        u, coefficients = self.representations(x, task)
        w = self.w[:, task, None, None]  # [E, T, 1, 1, K]
        return torch.tanh((w @ coefficients @ u).squeeze(-2))  # V itself is never made

    def representations(
        self, x: Float[Tensor, "1 T B I"], task: Int[Tensor, " T"]
    ) -> tuple[Float[Tensor, "E T B K H"], Float[Tensor, "E T B K K"]]:
        """The experts' representations of each state, and their Gram-Schmidt coefficients."""
        u = self.experts(x, task).unflatten(0, (-1, self.num_experts)).movedim(1, 3).contiguous()
        return u, gram_schmidt(u @ u.mT)
