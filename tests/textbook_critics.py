"""Textbook critics, which treat one return and one bin at a time on flat batches, and the plain
networks of the textbook algorithms."""

from collections.abc import Sequence
from math import floor
from statistics import NormalDist

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from torchrl_lite.network.layers import EnsembleLinear

OBS, ACT, HIDDEN = 5, 2, (16, 12)


def mlp(inputs: int, outputs: int, first_bias: bool) -> nn.Sequential:
    """With several tasks, the columns of the one-hot act as the first layer's bias."""
    sizes = [inputs, *HIDDEN, outputs]
    layers: list[nn.Module] = []
    for depth in range(len(sizes) - 1):
        layers.append(nn.Linear(sizes[depth], sizes[depth + 1], bias=depth > 0 or first_bias))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers[:-1]).double()


def in_textbook_layout(values: Sequence[Tensor], member: int, tasks: int) -> list[Tensor]:
    """One ensemble member's weights or gradients in the layout of the textbook's layers.

    Ours are ``[E, 1, in, out]`` and ``[E, rows, out]``. The rows of the first bias become the
    one-hot's columns, which lie between the observation and the action.
    """
    result: list[Tensor] = []
    for weight, bias in zip(values[::2], values[1::2], strict=True):
        matrix, rows = weight[member, 0].detach(), bias[member].detach()
        if tasks > 1 and not result:
            result.append(torch.cat((matrix[:OBS], rows, matrix[OBS:])).T)
        else:
            result += [matrix.T, rows[0]]
    return result


def shift_biases(*networks: nn.Module) -> None:
    """Makes all biases nonzero, so that a missing one shows."""
    generator = torch.Generator().manual_seed(7)
    for module in (part for network in networks for part in network.modules()):
        if isinstance(module, EnsembleLinear):
            module.bias.data += 0.1 * torch.randn(module.bias.shape, generator=generator)


class Scalar:
    """A critic that predicts one number, trained with the squared error."""

    outputs = 1

    def __init__(self, combine: str = "min") -> None:
        self.mean = combine == "mean"

    def value(self, out: Tensor) -> Tensor:
        return out[:, 0]

    def combined(self, outs: Sequence[Tensor]) -> Tensor:
        values = torch.stack([self.value(out) for out in outs])
        return values.mean(0) if self.mean else values.min(0).values

    def target(
        self, outs: Sequence[Tensor], rew: Tensor, discount: Tensor, bonus: Tensor
    ) -> Tensor:
        return rew + discount * (self.combined(outs) + bonus)

    def loss(self, out: Tensor, target: Tensor) -> Tensor:
        return mse_loss(out[:, 0], target)


class Bins(Scalar):
    """A distribution over bins around ``centres``, trained with the cross-entropy."""

    def __init__(
        self, kind: str, *, bins: int, bound: float, sigma: float = 0.75, combine: str = "min"
    ) -> None:
        super().__init__(combine)
        self.kind, self.outputs, self.bound = kind, bins, bound
        self.width = 2 * bound / (bins - 1)
        self.centres = [-bound + index * self.width for index in range(bins)]
        self.sigma = sigma * self.width

    def value(self, out: Tensor) -> Tensor:
        return out.softmax(1) @ torch.tensor(self.centres, dtype=out.dtype)

    def target(
        self, outs: Sequence[Tensor], rew: Tensor, discount: Tensor, bonus: Tensor
    ) -> Tensor:
        rows = []
        for i in range(len(rew)):
            r, gamma, b = rew[i].item(), discount[i].item(), bonus[i].item()
            own = [out[i : i + 1] for out in outs]
            if self.kind == "c51":
                pairs = zip(self.centres, self.distribution(own), strict=True)
                parts = [self.spread(r + gamma * (z + b), mass) for z, mass in pairs]
                rows.append([sum(column) for column in zip(*parts, strict=True)])
            else:
                y = r + gamma * (self.combined(own).item() + b)
                rows.append(self.spread(y, 1.0) if self.kind == "two_hot" else self.gauss(y))
        return torch.tensor(rows, dtype=rew.dtype)

    def distribution(self, outs: Sequence[Tensor]) -> list[float]:
        """The distribution of the member with the smaller mean, or the average of all."""
        shares = [out.softmax(1)[0].tolist() for out in outs]
        if self.mean:
            return [sum(column) / len(outs) for column in zip(*shares, strict=True)]
        values = [self.value(out).item() for out in outs]
        return shares[values.index(min(values))]

    def spread(self, y: float, mass: float) -> list[float]:
        """Bellemare et al. 2017, algorithm 1."""
        result = [0.0] * self.outputs
        b = (min(max(y, -self.bound), self.bound) + self.bound) / self.width
        lower, upper = floor(b), min(floor(b) + 1, self.outputs - 1)
        result[lower] += mass * (1 - (b - lower))
        result[upper] += mass * (b - lower)
        return result

    def gauss(self, y: float) -> list[float]:
        """Farebrother et al. 2024, eq. 3.1, with the normal truncated at the outer bin edges."""
        normal = NormalDist(min(max(y, -self.bound), self.bound), self.sigma)
        half = self.width / 2
        shares = [normal.cdf(z + half) - normal.cdf(z - half) for z in self.centres]
        return [share / sum(shares) for share in shares]

    def loss(self, out: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(out, target)
