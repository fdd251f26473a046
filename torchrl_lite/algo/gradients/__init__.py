"""Methods that combine the tasks' gradients, by their name in ``train.gradients``."""

from torchrl_lite.algo.gradients.cagrad import CAGrad
from torchrl_lite.algo.gradients.famo import FAMO
from torchrl_lite.algo.gradients.gradnorm import GradNorm
from torchrl_lite.algo.gradients.method import Method
from torchrl_lite.algo.gradients.pcgrad import PCGrad

METHODS: dict[str, type[Method]] = {
    "pcgrad": PCGrad,
    "cagrad": CAGrad,
    "famo": FAMO,
    "gradnorm": GradNorm,
}

__all__ = ["METHODS"]
