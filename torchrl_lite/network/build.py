"""Builds actors and critics from the ``net`` section of a configuration."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from jaxtyping import Float, Int
from torch import Tensor, nn

from torchrl_lite.config import NetConfig
from torchrl_lite.network.care import CareTrunk
from torchrl_lite.network.categorical_critic import C51Critic, CategoricalCritic
from torchrl_lite.network.critic import Critic, ScalarCritic
from torchrl_lite.network.film import FilmMLP
from torchrl_lite.network.initialisation import SCHEMES, Scheme
from torchrl_lite.network.layers import EnsembleLinear
from torchrl_lite.network.mlp import MLP
from torchrl_lite.network.moore import MooreTrunk
from torchrl_lite.network.normalizer import ObsNormalizer
from torchrl_lite.network.paco import PacoNetwork
from torchrl_lite.network.soft_module import SoftModuleNetwork
from torchrl_lite.network.task_input import TaskInput
from torchrl_lite.types import Spec


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
    """What an architecture needs to know to build a body."""

    in_features: int
    hidden: list[int]
    outputs: int
    ensemble: int
    scheme: Scheme


def _head(width: int, shape: _Shape, *, rows: int) -> EnsembleLinear:
    return EnsembleLinear(
        width,
        shape.outputs,
        ensemble=shape.ensemble,
        weight_rows=rows,
        bias_rows=rows,
        init=shape.scheme.head,
    )


def _mlp(net: NetConfig, spec: Spec, shape: _Shape) -> nn.Module:
    """``mlp``, and the kinds that differ from it only in which parameters are per-task."""
    how: Literal["onehot", "embedding", "own"]
    how = "own" if net.kind == "independent" else net.task_input
    trunk = MLP(
        shape.in_features,
        shape.hidden,
        ensemble=shape.ensemble,
        task_input=TaskInput(how, spec.num_tasks, net.embedding_dim),
        norm=net.norm == "layer",
        residual=net.residual,
        init=shape.scheme.hidden,
    )
    own_head = spec.num_tasks if net.kind in ("independent", "multihead") else 1
    return _TrunkAndHead(trunk, _head(shape.hidden[-1], shape, rows=own_head))


def _soft_module(net: NetConfig, spec: Spec, shape: _Shape) -> nn.Module:
    return SoftModuleNetwork(
        net,
        num_tasks=spec.num_tasks,
        in_features=shape.in_features,
        hidden_shapes=shape.hidden,
        ensemble=shape.ensemble,
        hidden_init=shape.scheme.hidden,
        head=_head(net.soft_module.module_hidden, shape, rows=1),
    )


def _paco(net: NetConfig, spec: Spec, shape: _Shape) -> nn.Module:
    return PacoNetwork(
        shape.in_features,
        shape.hidden,
        outputs=shape.outputs,
        num_tasks=spec.num_tasks,
        num_sets=net.paco.num_sets,
        ensemble=shape.ensemble,
        norm=net.norm == "layer",
        hidden_init=shape.scheme.hidden,
        head_init=shape.scheme.head,
    )


def _moore(net: NetConfig, spec: Spec, shape: _Shape) -> nn.Module:
    trunk = MooreTrunk(
        shape.in_features,
        shape.hidden,
        num_tasks=spec.num_tasks,
        num_experts=net.moore.num_experts,
        ensemble=shape.ensemble,
        norm=net.norm == "layer",
        init=shape.scheme.hidden,
    )
    return _TrunkAndHead(trunk, _head(shape.hidden[-1], shape, rows=spec.num_tasks))


def _film(net: NetConfig, spec: Spec, shape: _Shape) -> nn.Module:
    trunk = FilmMLP(
        shape.in_features,
        shape.hidden,
        num_tasks=spec.num_tasks,
        ensemble=shape.ensemble,
        norm=net.norm == "layer",
        init=shape.scheme.hidden,
    )
    return _TrunkAndHead(trunk, _head(shape.hidden[-1], shape, rows=1))


def _care(net: NetConfig, spec: Spec, shape: _Shape) -> nn.Module:
    trunk = CareTrunk(
        net,
        num_tasks=spec.num_tasks,
        obs_dim=spec.obs_dim,
        act_dim=shape.in_features - spec.obs_dim,
        hidden_shapes=shape.hidden,
        ensemble=shape.ensemble,
        init=shape.scheme.hidden,
    )
    return _TrunkAndHead(trunk, _head(shape.hidden[-1], shape, rows=1))


_BODIES: dict[str, Callable[[NetConfig, Spec, _Shape], nn.Module]] = {
    "mlp": _mlp,
    "multihead": _mlp,
    "independent": _mlp,
    "soft_module": _soft_module,
    "paco": _paco,
    "moore": _moore,
    "film": _film,
    "care": _care,
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

    The input is the observation, for a critic followed by the action. ``parts`` is the number of
    equal heads in the outputs (2 for mean and log standard deviation).
    """
    scheme = SCHEMES[net.init][role]
    shape = _Shape(
        in_features=spec.obs_dim + (spec.act_dim if role == "critic" else 0),
        hidden=net.hidden(role),
        outputs=outputs,
        ensemble=ensemble,
        scheme=scheme._replace(head=scheme.head._replace(parts=parts)),
    )
    body = _BODIES[net.kind](net, spec, shape)
    if net.normalize_obs:  # applied by `Role`
        body.normalizer = ObsNormalizer(spec.num_tasks, spec.obs_dim)
    return body


def build_critic(net: NetConfig, spec: Spec, *, ensemble: int) -> Critic:
    """``ensemble`` critics of the configured architecture and kind."""
    kind = {"scalar": ScalarCritic, "c51": C51Critic}.get(net.critic.kind, CategoricalCritic)
    outputs = 1 if kind is ScalarCritic else net.critic.bins
    body = build(net, spec, role="critic", outputs=outputs, ensemble=ensemble)
    return kind(body, spec, net.critic)
