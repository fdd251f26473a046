"""Builds actors and critics from the ``net`` section of a configuration."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from jaxtyping import Float, Int
from torch import Tensor, nn

from torchrl_lite.config import NetConfig
from torchrl_lite.network.actor_critic import (
    Actor,
    DeterministicPolicy,
    GaussianPolicy,
    QEnsemble,
)
from torchrl_lite.network.layers import (
    MLP,
    EnsembleLinear,
    Init,
    he_uniform,
    uniform,
    xavier_normal,
    xavier_uniform,
    zeros,
)
from torchrl_lite.types import Spec

__all__ = ["Actor", "DeterministicPolicy", "GaussianPolicy", "QEnsemble", "build"]


class _Scheme(NamedTuple):
    hidden: Init
    head: Init
    head_bias: Init = zeros


# The two baselines that the configurations mirror differ in how they begin, and it shows in the
# first thousands of frames: garage's heads are as large as any layer, metaworld-algorithms' start
# near zero.
_SCHEMES: dict[str, dict[str, _Scheme]] = {
    "garage": {
        "actor": _Scheme(xavier_uniform, xavier_uniform),
        "critic": _Scheme(xavier_normal, xavier_normal),
    },
    "metaworld_algorithms": {
        "actor": _Scheme(he_uniform, uniform(1e-3), uniform(1e-3)),
        "critic": _Scheme(he_uniform, uniform(3e-3), uniform(3e-3)),
    },
}


def _in_parts(init: Init, parts: int) -> Init:
    """Initialises each part of the output as a layer of its own (mean and log std)."""

    def fill(weight: Tensor) -> None:
        for part in weight.chunk(parts, dim=-1):
            init(part)

    return fill


class _TrunkAndHead(nn.Module):
    """Hidden layers and a linear output."""

    def __init__(self, trunk: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head

    def forward(
        self, x: Float[Tensor, "e T B I"], task: Int[Tensor, "T"]
    ) -> Float[Tensor, "E T B O"]:
        return self.head(self.trunk(x, task), task)


def _mlp(
    net: NetConfig, spec: Spec, *, in_features: int, outputs: int, ensemble: int, scheme: _Scheme
) -> nn.Module:
    trunk = MLP(
        in_features,
        net.hidden_shapes,
        ensemble=ensemble,
        task_rows=spec.num_tasks,
        init=scheme.hidden,
    )
    head = EnsembleLinear(
        net.hidden_shapes[-1],
        outputs,
        ensemble=ensemble,
        init=scheme.head,
        bias_init=scheme.head_bias,
    )
    return _TrunkAndHead(trunk, head)


_BODIES: dict[str, Callable[..., nn.Module]] = {"mlp": _mlp}


def build(
    net: NetConfig,
    spec: Spec,
    *,
    role: Literal["actor", "critic"],
    outputs: int,
    parts: int = 1,
    ensemble: int = 1,
) -> nn.Module:
    """A body ``[e, T, B, in], task [T] -> [E, T, B, outputs]`` of the configured architecture.

    An actor's body sees the observation, a critic's the observation and the action. ``parts`` says
    how many heads of equal size the outputs are (2 for mean and log standard deviation).
    """
    scheme = _SCHEMES[net.init][role]
    return _BODIES[net.kind](
        net,
        spec,
        in_features=spec.obs_dim + (spec.act_dim if role == "critic" else 0),
        outputs=outputs,
        ensemble=ensemble,
        scheme=scheme._replace(head=_in_parts(scheme.head, parts)),
    )
