"""Builds actors and critics from the ``net`` section of a configuration."""

from collections.abc import Callable
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from torchrl_lite.config import NetConfig
from torchrl_lite.network.care import CareTrunk
from torchrl_lite.network.categorical_critic import C51Critic, CategoricalCritic
from torchrl_lite.network.critic import Critic, ScalarCritic
from torchrl_lite.network.film import FilmMLP
from torchrl_lite.network.initialisation import SCHEMES
from torchrl_lite.network.mlp import MLP
from torchrl_lite.network.moore import MooreTrunk
from torchrl_lite.network.normalizer import ObsNormalizer
from torchrl_lite.network.paco import PacoNetwork
from torchrl_lite.network.shape import Shape
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


def _mlp(net: NetConfig, shape: Shape) -> nn.Module:
    """``mlp``, and the kinds that differ from it only in which parameters are per-task."""
    how: Literal["onehot", "embedding", "own"]
    how = "own" if net.kind == "independent" else net.task_input
    trunk = MLP(
        shape.inputs,
        shape.hidden,
        ensemble=shape.ensemble,
        task_input=TaskInput(how, shape.num_tasks, net.embedding_dim),
        norm=net.norm == "layer",
        residual=net.residual,
        init=shape.scheme.hidden,
    )
    return _with_head(trunk, shape, per_task=net.kind in ("independent", "multihead"))


def _with_head(trunk: nn.Module, shape: Shape, *, per_task: bool = False) -> nn.Module:
    return _TrunkAndHead(trunk, shape.head(shape.hidden[-1], per_task=per_task))


_BODIES: dict[str, Callable[[NetConfig, Shape], nn.Module]] = {
    "mlp": _mlp,
    "multihead": _mlp,
    "independent": _mlp,
    "soft_module": SoftModuleNetwork,
    "paco": PacoNetwork,
    "moore": lambda net, shape: _with_head(MooreTrunk(net, shape), shape, per_task=True),
    "film": lambda net, shape: _with_head(FilmMLP(net, shape), shape),
    "care": lambda net, shape: _with_head(CareTrunk(net, shape), shape),
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
    shape = Shape(
        num_tasks=spec.num_tasks,
        obs_dim=spec.obs_dim,
        act_dim=spec.act_dim if role == "critic" else 0,
        hidden=net.hidden(role),
        outputs=outputs,
        ensemble=ensemble,
        scheme=scheme._replace(head=scheme.head._replace(parts=parts)),
    )
    body = _BODIES[net.kind](net, shape)
    if net.normalize_obs:  # applied by `Role`
        body.normalizer = ObsNormalizer(spec.num_tasks, spec.obs_dim)
    return body


def build_critic(net: NetConfig, spec: Spec, *, ensemble: int) -> Critic:
    """``ensemble`` critics of the configured architecture and kind."""
    kind = {"scalar": ScalarCritic, "c51": C51Critic}.get(net.critic.kind, CategoricalCritic)
    outputs = 1 if kind is ScalarCritic else net.critic.bins
    body = build(net, spec, role="critic", outputs=outputs, ensemble=ensemble)
    return kind(body, spec, net.critic)
