"""Critics that predict a distribution over bins."""

from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torchrl_lite.config import CriticConfig
from torchrl_lite.network.critic import Critic
from torchrl_lite.types import Spec


class CategoricalCritic(Critic):
    """Predicts logits of a distribution over bins; trained with the cross-entropy.

    The bins are evenly spaced from ``-bound`` to ``bound``; values beyond are clipped.
    """

    atoms: Tensor
    edges: Tensor

    def __init__(self, body: nn.Module, spec: Spec, config: CriticConfig) -> None:
        super().__init__(body, spec, config)
        bound = config.bound
        self.width = 2 * bound / (config.bins - 1)
        atoms = torch.linspace(-bound, bound, config.bins)
        edges = torch.cat((atoms - self.width / 2, atoms[-1:] + self.width / 2))
        self.register_buffer("atoms", atoms, persistent=False)
        self.register_buffer("edges", edges, persistent=False)

    def value(self, prediction: Float[Tensor, "E T B N"]) -> Float[Tensor, "E T B"]:
        return (prediction.softmax(-1) * self.atoms).sum(-1)  # a product would round to bfloat16

    def encode(self, y: Float[Tensor, "T B"]) -> Float[Tensor, "T B N"]:
        if self.config.kind == "two_hot":
            return self.two_hot(y[..., None], torch.ones_like(y)[..., None])
        return self.hl_gauss(y)

    def loss(
        self, prediction: Float[Tensor, "E T B N"], target: Float[Tensor, "T B N"]
    ) -> Float[Tensor, "E T"]:
        return (prediction.logsumexp(-1) - (prediction * target).sum(-1)).mean(2)

    def hl_gauss(self, y: Float[Tensor, "T B"]) -> Float[Tensor, "T B N"]:
        """The probability mass of a Gaussian around ``y`` in each bin.

        Imani & White 2018 (arXiv:1806.04613); Farebrother et al. 2024 (arXiv:2403.03950), eq. 3.1.
        """
        y = y.clamp(-self.config.bound, self.config.bound)
        scale = sqrt(2) * self.config.sigma * self.width
        below = torch.erf((self.edges - y[..., None]) / scale)
        return below.diff(dim=-1) / (below[..., -1:] - below[..., :1])

    def two_hot(
        self, returns: Float[Tensor, "T B M"], mass: Float[Tensor, "T B M"]
    ) -> Float[Tensor, "T B N"]:
        """Split each return's mass between the two nearest bins, preserving its mean.

        For the atoms of a distribution this is the projection of C51 (Bellemare et al. 2017,
        arXiv:1707.06887, eq. 7); for a single return, the two-hot encoding of Schrittwieser et al.
        2020 (arXiv:1911.08265, appendix F).
        """
        place = (returns.clamp(-self.config.bound, self.config.bound) - self.atoms[0]) / self.width
        # A NaN stays in the shares, where the run detects it; as an index it would crash.
        lower = place.nan_to_num().floor().clamp(0, self.config.bins - 2)
        upper_share = place - lower
        result = mass.new_zeros(*mass.shape[:2], self.config.bins)
        result.scatter_add_(2, lower.long(), mass * (1 - upper_share))
        return result.scatter_add_(2, lower.long() + 1, mass * upper_share)


class C51Critic(CategoricalCritic):
    """The target is a distribution, too: that of the next state, shifted and scaled."""

    def target(
        self,
        prediction: Float[Tensor, "E T B N"],
        *,
        rew: Float[Tensor, "T B"],
        discount: Float[Tensor, "T B"],
        bonus: Float[Tensor, "T B"] | float = 0.0,
    ) -> Float[Tensor, "T B N"]:
        shift = rew + discount * bonus
        returns = shift[..., None] + discount[..., None] * self.atoms
        return self.two_hot(returns, self._combined(prediction))

    def _combined(self, prediction: Float[Tensor, "E T B N"]) -> Float[Tensor, "T B N"]:
        """The mean of the members' distributions, or the distribution with the smallest mean."""
        probabilities = prediction.softmax(-1)
        if self.config.combine == "mean":
            return probabilities.mean(0)
        smallest = self.value(prediction).argmin(0)[None, ..., None]  # [1, T, B, 1]
        return probabilities.take_along_dim(smallest, 0).squeeze(0)
