"""How the task enters a trunk."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from torchrl_lite.network.initialisation import Fill, Init
from torchrl_lite.network.layers import EnsembleLinear


class TaskInput(NamedTuple):
    """What a trunk needs to know about its tasks.

    ``onehot``: the first layer has a bias per task, which is equivalent to a one-hot task id in the
    input. ``embedding``: a learned vector of ``size`` numbers enters the first layer. ``own``:
    every task has separate layers. ``none``: the trunk does not see the task.
    """

    how: Literal["onehot", "embedding", "own", "none"] = "none"
    tasks: int = 1
    size: int = 0

    @property
    def own_rows(self) -> int:
        """Size of the task dimension of the trunk's parameters."""
        return self.tasks if self.how == "own" else 1

    @property
    def first_bias_rows(self) -> int:
        return self.tasks if self.how in ("onehot", "own") else 1

    def enter(self, first: EnsembleLinear, *, init: Init) -> "TaskEmbedding | None":
        """Initialise per-task biases, or return the embedding to add to the first layer's output.
        Called after all other layers exist, so that their initial weights do not depend on it."""
        if self.tasks == 1:
            return None
        if self.how == "onehot":
            _start_as_onehot(first, self.tasks, init)
        if self.how != "embedding":
            return None
        ensemble, _, _, features = first.weight.shape
        return TaskEmbedding(self.tasks, self.size, features, ensemble=ensemble, init=init.weight)


NO_TASK = TaskInput()


def _start_as_onehot(first: EnsembleLinear, tasks: int, init: Init) -> None:
    """Initialise the per-task biases as the weights of a one-hot input plus a bias."""
    ensemble, _, in_features, out_features = first.weight.shape
    stacked = torch.empty(ensemble, 1, in_features + tasks, out_features)
    bias = torch.empty(ensemble, 1, out_features)
    init(stacked, bias)
    first.weight.data.copy_(stacked[:, :, :in_features])
    first.bias.data.copy_(stacked[:, 0, in_features:] + bias)


class TaskEmbedding(nn.Module):
    """A learned unit vector per task, and the layer that reads it.

    Adding ``embedding @ weight`` to a layer's output is equivalent to concatenating the embedding
    to its input. BRC (Nauman et al. 2025, arXiv:2505.23150) uses vectors of 32 numbers, learned
    by the critics and shared with the actor; here every network learns its own.
    """

    task_parameters = ("rows",)

    def __init__(
        self, task_rows: int, size: int, out_features: int, *, ensemble: int, init: Fill
    ) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(ensemble, task_rows, size))
        self.weight = nn.Parameter(torch.empty(ensemble, size, out_features))
        init(self.weight.data, size, out_features)

    def forward(self, task: Int[Tensor, " T"]) -> Float[Tensor, "E T 1 O"]:
        return (normalize(self.rows[:, task], dim=-1) @ self.weight)[:, :, None]
