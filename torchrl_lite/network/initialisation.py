"""Initial weights and biases; a scheme is named after the library that it follows."""

from collections.abc import Callable
from math import sqrt
from typing import Literal, NamedTuple

from torch import Tensor, nn

Fill = Callable[[Tensor, int, int], None]
"""Fills a tensor of a layer in place, given the layer's number of inputs and of outputs."""


class Init(NamedTuple):
    """Initialisation of a layer."""

    weight: Fill
    bias: Fill
    parts: int = 1
    """Equal parts of the output, each initialised as a separate layer (mean and log std)."""

    def __call__(self, weight: Tensor, bias: Tensor) -> None:
        """Fill ``weight [..., in, out]`` and ``bias [..., out]`` in place."""
        inputs = weight.shape[-2]
        for tensor, fill in ((weight, self.weight), (bias, self.bias)):
            for part in tensor.detach().chunk(self.parts, dim=-1):
                fill(part, inputs, part.shape[-1])


def xavier_uniform(tensor: Tensor, inputs: int, outputs: int) -> None:
    """Glorot & Bengio 2010, eq. 16."""
    bound = sqrt(6 / (inputs + outputs))
    nn.init.uniform_(tensor, -bound, bound)


def xavier_normal(tensor: Tensor, inputs: int, outputs: int) -> None:
    """Glorot & Bengio 2010, eq. 12, with a normal distribution."""
    nn.init.normal_(tensor, std=sqrt(2 / (inputs + outputs)))


def he_uniform(tensor: Tensor, inputs: int, _outputs: int) -> None:
    """He et al. 2015, eq. 10, with a uniform distribution."""
    bound = sqrt(6 / inputs)
    nn.init.uniform_(tensor, -bound, bound)


def lecun_uniform(tensor: Tensor, inputs: int, _outputs: int) -> None:
    """LeCun et al. 1998, as in ``torch.nn.Linear``: weights and biases in ±1/sqrt(fan_in)."""
    bound = 1 / sqrt(inputs)
    nn.init.uniform_(tensor, -bound, bound)


def zeros(tensor: Tensor, _inputs: int, _outputs: int) -> None:
    nn.init.zeros_(tensor)


def uniform(bound: float) -> Init:
    """Weights and biases uniform in ±bound, for small output layers."""

    def fill(tensor: Tensor, _inputs: int, _outputs: int) -> None:
        nn.init.uniform_(tensor, -bound, bound)

    return Init(fill, fill)


class Scheme(NamedTuple):
    """Initialisation of a network."""

    hidden: Init
    head: Init


_HE, _TORCH = Init(he_uniform, zeros), Init(lecun_uniform, lecun_uniform)
_XAVIER_UNIFORM, _XAVIER_NORMAL = Init(xavier_uniform, zeros), Init(xavier_normal, zeros)

# The scheme affects the first few thousand frames. Heads start as large as any layer in garage,
# near zero in metaworld-algorithms, and in between with PyTorch's defaults (SB3, CleanRL).
SCHEMES: dict[str, dict[Literal["actor", "critic"], Scheme]] = {
    "garage": {
        "actor": Scheme(_XAVIER_UNIFORM, _XAVIER_UNIFORM),
        "critic": Scheme(_XAVIER_NORMAL, _XAVIER_NORMAL),
    },
    "metaworld_algorithms": {
        "actor": Scheme(_HE, uniform(1e-3)),
        "critic": Scheme(_HE, uniform(3e-3)),
    },
    "torch": {"actor": Scheme(_TORCH, _TORCH), "critic": Scheme(_TORCH, _TORCH)},
}
