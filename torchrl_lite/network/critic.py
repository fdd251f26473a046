"""Critics: how they predict the discounted return, and the matching loss.

Scalar and categorical critics (`categorical_critic`) share one interface: `forward` predicts,
`value` is the expected return of a prediction, `target` the training target, and `loss` compares
the two.
"""

from abc import abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from torchrl_lite.config import CriticConfig
from torchrl_lite.network.role import Role
from torchrl_lite.types import Spec


class Critic(Role):
    """``E`` Q functions of the same shape, computed at once.

    A prediction is ``[E, T, B, N]``: N is 1 for a scalar critic, else the number of bins.
    """

    def __init__(self, body: nn.Module, spec: Spec, config: CriticConfig) -> None:
        super().__init__(body, spec)
        self.config = config

    def forward(
        self, obs: Float[Tensor, "T B O"], act: Float[Tensor, "T B A"], task: Int[Tensor, " T"]
    ) -> Float[Tensor, "E T B N"]:
        inputs = torch.cat((self.prepare_obs(obs, task), self.mask_act(act, task)), dim=-1)
        return self.outputs(inputs[None], task)

    def combine(self, values: Float[Tensor, "E T B"]) -> Float[Tensor, "T B"]:
        """Reduce the ensemble to its minimum or mean."""
        return values.amin(0) if self.config.combine == "min" else values.mean(0)

    @abstractmethod
    def value(self, prediction: Float[Tensor, "E T B N"]) -> Float[Tensor, "E T B"]:
        """The expected return of a prediction."""

    def target(
        self,
        prediction: Float[Tensor, "E T B N"],
        *,
        rew: Float[Tensor, "T B"],
        discount: Float[Tensor, "T B"],
        bonus: Float[Tensor, "T B"] | float = 0.0,
    ) -> Float[Tensor, "T B M"]:
        """The training target for ``rew + discount * (next value + bonus)``, where the next value
        is the combined ``prediction`` of the ensemble."""
        return self.encode(rew + discount * (self.combine(self.value(prediction)) + bonus))

    @abstractmethod
    def encode(self, y: Float[Tensor, "T B"]) -> Float[Tensor, "T B M"]:
        """A return as a training target."""

    @abstractmethod
    def loss(
        self, prediction: Float[Tensor, "E T B N"], target: Float[Tensor, "T B M"]
    ) -> Float[Tensor, "E T"]:
        """Loss of each ensemble member's predictions, averaged over the batch."""


class ScalarCritic(Critic):
    """Predicts the value itself; trained with the squared error."""

    def value(self, prediction: Float[Tensor, "E T B 1"]) -> Float[Tensor, "E T B"]:
        return prediction.squeeze(-1)

    def encode(self, y: Float[Tensor, "T B"]) -> Float[Tensor, "T B 1"]:
        return y[..., None]

    def loss(
        self, prediction: Float[Tensor, "E T B 1"], target: Float[Tensor, "T B 1"]
    ) -> Float[Tensor, "E T"]:
        return (prediction - target).square().squeeze(-1).mean(2)
