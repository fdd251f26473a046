"""Builds actors and critics from the ``net`` section of a configuration."""

from collections.abc import Callable, Sequence
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
    Fans,
    Fill,
    Init,
    he_uniform,
    lecun_uniform,
    uniform,
    xavier_normal,
    xavier_uniform,
    zeros,
)
from torchrl_lite.network.soft_module import SoftModuleNetwork
from torchrl_lite.types import Spec

__all__ = [
    "Actor",
    "DeterministicPolicy",
    "GaussianPolicy",
    "QEnsemble",
    "build",
    "places_of_task_rows",
    "task_parameters",
]


class _Scheme(NamedTuple):
    hidden: Init
    head: Init


def _small(bound: float) -> Init:
    return Init(uniform(bound), uniform(bound))


_HE = Init(he_uniform, zeros)
_XAVIER_UNIFORM, _XAVIER_NORMAL = Init(xavier_uniform, zeros), Init(xavier_normal, zeros)
_TORCH = Init(lecun_uniform, lecun_uniform)

# How a network begins shows in the first thousands of frames: garage's heads are as large as any
# layer, metaworld-algorithms' start near zero, PyTorch's own layers (SB3's, CleanRL's) between.
_SCHEMES: dict[str, dict[str, _Scheme]] = {
    "garage": {
        "actor": _Scheme(_XAVIER_UNIFORM, _XAVIER_UNIFORM),
        "critic": _Scheme(_XAVIER_NORMAL, _XAVIER_NORMAL),
    },
    "metaworld_algorithms": {
        "actor": _Scheme(_HE, _small(1e-3)),
        "critic": _Scheme(_HE, _small(3e-3)),
    },
    "torch": {"actor": _Scheme(_TORCH, _TORCH), "critic": _Scheme(_TORCH, _TORCH)},
}


def _in_parts(init: Init, parts: int) -> Init:
    """Initialises each part of the output as a layer of its own (mean and log std)."""

    def split(fill: Fill) -> Fill:
        def fill_parts(tensor: Tensor, fans: Fans) -> None:
            for part in tensor.chunk(parts, dim=-1):
                fill(part, Fans(fans.inputs, fans.outputs // parts))

        return fill_parts

    return Init(split(init.weight), split(init.bias))


class _TrunkAndHead(nn.Module):
    """Hidden layers and a linear output."""

    def __init__(self, trunk: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head

    def forward(
        self, x: Float[Tensor, "e T B I"], task: Int[Tensor, " T"]
    ) -> Float[Tensor, "E T B O"]:
        return self.head(self.trunk(x, task), task)


class _Shape(NamedTuple):
    """What a role asks of an architecture."""

    in_features: int
    outputs: int
    ensemble: int
    scheme: _Scheme


def _head(net: NetConfig, shape: _Shape, *, rows: int) -> EnsembleLinear:
    return EnsembleLinear(
        net.hidden_shapes[-1] if net.kind != "soft_module" else net.soft_module.module_hidden,
        shape.outputs,
        ensemble=shape.ensemble,
        weight_rows=rows,
        bias_rows=rows,
        init=shape.scheme.head,
    )


def _mlp(net: NetConfig, spec: Spec, shape: _Shape) -> nn.Module:
    """``mlp``, and what differs from it only in which parameters have a row per task."""
    own_trunk = spec.num_tasks if net.kind == "independent" else 1
    own_head = spec.num_tasks if net.kind in ("independent", "multihead") else 1
    trunk = MLP(
        shape.in_features,
        net.hidden_shapes,
        ensemble=shape.ensemble,
        task_rows=spec.num_tasks,
        weight_rows=own_trunk,
        embedding_dim=net.embedding_dim if net.task_input == "embedding" else None,
        init=shape.scheme.hidden,
    )
    return _TrunkAndHead(trunk, _head(net, shape, rows=own_head))


def _soft_module(net: NetConfig, spec: Spec, shape: _Shape) -> nn.Module:
    return SoftModuleNetwork(
        net,
        num_tasks=spec.num_tasks,
        in_features=shape.in_features,
        ensemble=shape.ensemble,
        hidden_init=shape.scheme.hidden,
        head=_head(net, shape, rows=1),
    )


_BODIES: dict[str, Callable[[NetConfig, Spec, _Shape], nn.Module]] = {
    "mlp": _mlp,
    "multihead": _mlp,
    "independent": _mlp,
    "soft_module": _soft_module,
}


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
    shape = _Shape(
        in_features=spec.obs_dim + (spec.act_dim if role == "critic" else 0),
        outputs=outputs,
        ensemble=ensemble,
        scheme=scheme._replace(head=_in_parts(scheme.head, parts)),
    )
    return _BODIES[net.kind](net, spec, shape)


def task_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Every parameter with a row per task, which is always its second dimension."""
    return [part.get_parameter(name) for part in module.modules() for name in _declared(part)]


def places_of_task_rows(module: nn.Module) -> set[str]:
    """Names of all parameters whose second dimension is a row per task, or 1 for all of them."""
    linear = ("weight", "bias")
    return {
        f"{place}.{name}"
        for place, part in module.named_modules()
        for name in (linear if isinstance(part, EnsembleLinear) else _declared(part))
    }


def _declared(module: nn.Module) -> Sequence[str]:
    return getattr(module, "task_parameters", ())
