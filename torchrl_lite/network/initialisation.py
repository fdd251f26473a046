"""Initial weights and biases, by the library whose scheme they follow."""

from collections.abc import Callable
from math import sqrt
from typing import Literal, NamedTuple

from torch import Tensor, nn

Fill = Callable[[Tensor, int, int], None]
"""Fills a tensor of a layer in place, given the layer's numbers of inputs and outputs."""


class Init(NamedTuple):
    """How a layer starts."""

    weight: Fill
    bias: Fill
    parts: int = 1
    """Equal parts of the output that each start as a layer of their own (mean and log std)."""

    def __call__(self, weight: Tensor, bias: Tensor) -> None:
        """Fills ``weight [..., in, out]`` and ``bias [..., out]`` in place."""
        inputs = weight.shape[-2]
        for tensor, fill in ((weight, self.weight), (bias, self.bias)):
            for part in tensor.detach().chunk(self.parts, dim=-1):
                fill(part, inputs, part.shape[-1])


def xavier_uniform(tensor: Tensor, inputs: int, outputs: int) -> None:
    """Glorot & Bengio 2010, eq. 16."""
    bound = sqrt(6 / (inputs + outputs))
    nn.init.uniform_(tensor, -bound, bound)


def xavier_normal(tensor: Tensor, inputs: int, outputs: int) -> None:
    """Glorot & Bengio 2010, eq. 12, drawn from a normal."""
    nn.init.normal_(tensor, std=sqrt(2 / (inputs + outputs)))


def he_uniform(tensor: Tensor, inputs: int, _outputs: int) -> None:
    """He et al. 2015, eq. 10, drawn from a uniform."""
    bound = sqrt(6 / inputs)
    nn.init.uniform_(tensor, -bound, bound)


def lecun_uniform(tensor: Tensor, inputs: int, _outputs: int) -> None:
    """LeCun et al. 1998 as ``torch.nn.Linear`` starts, weights and biases: ±1/sqrt(fan_in)."""
    bound = 1 / sqrt(inputs)
    nn.init.uniform_(tensor, -bound, bound)


def zeros(tensor: Tensor, _inputs: int, _outputs: int) -> None:
    nn.init.zeros_(tensor)


def uniform(bound: float) -> Init:
    """Weights and biases in ±bound, as small output layers want them."""

    def fill(tensor: Tensor, _inputs: int, _outputs: int) -> None:
        nn.init.uniform_(tensor, -bound, bound)

    return Init(fill, fill)


class Scheme(NamedTuple):
    """How a network starts."""

    hidden: Init
    head: Init


_HE, _TORCH = Init(he_uniform, zeros), Init(lecun_uniform, lecun_uniform)
_XAVIER_UNIFORM, _XAVIER_NORMAL = Init(xavier_uniform, zeros), Init(xavier_normal, zeros)

# The scheme shows in the first thousands of frames: garage's heads are as large as any layer,
# metaworld-algorithms' start near zero, PyTorch's own layers (SB3's, CleanRL's) lie between.
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
