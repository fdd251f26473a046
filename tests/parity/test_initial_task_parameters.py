"""How architectures for many tasks start: metaworld-algorithms' values, each task's drawn alone."""

from math import sqrt

import pytest
import torch
from helpers import CPU, make_spec
from test_initialisation import assert_uniform

from torchrl_lite.algo.sac import SAC, SACConfig
from torchrl_lite.config import NetConfig

OBS, ACT, TASKS, HIDDEN = 39, 4, 10, 128
INPUTS = {"actor": OBS, "critic": OBS + ACT}
HEADS = {"actor": 1e-3, "critic": 3e-3}
NETWORKS = pytest.mark.parametrize("network", ["actor", "critic"])


def learner(kind: str, **net: object) -> SAC:
    torch.manual_seed(0)
    options = {"kind": kind, "hidden_shapes": [HIDDEN, HIDDEN]} | net
    spec = make_spec(TASKS, obs_dim=OBS, act_dim=ACT)
    return SAC(SACConfig(), NetConfig.model_validate(options), spec, device=CPU, seed=0)


@NETWORKS
@pytest.mark.parametrize("kind", ["multihead", "independent"])
def test_every_tasks_head_is_drawn_by_itself(kind: str, network: str) -> None:
    layer = getattr(learner(kind), network).body.head
    for tensor in (layer.weight.detach(), layer.bias.detach()):
        assert tensor.shape[1] == TASKS
        assert tensor.abs().max() <= HEADS[network]
        assert tensor.flatten(2).unique(dim=1).shape[1] == TASKS
    for member in layer.weight.detach():
        assert_uniform(member, HEADS[network])


@NETWORKS
def test_independent_agents_start_as_single_ones(network: str) -> None:
    """Without the inputs of a one-hot, which they do not have."""
    layers = getattr(learner("independent"), network).body.trunk.layers
    for layer, fan_in in zip(layers, [INPUTS[network], HIDDEN], strict=True):
        assert not layer.bias.any()
        for weight in layer.weight.detach().flatten(0, 1):
            assert_uniform(weight, sqrt(6 / fan_in))


@NETWORKS
def test_soft_modules_start_as_in_metaworld_algorithms(network: str) -> None:
    """He for all layers but the routes, which begin near uniform, and the head."""
    size = {"num_layers": 3, "num_modules": 3, "module_hidden": 64, "gating_hidden": 96}
    body = getattr(learner("soft_module", soft_module=size), network).body
    fans = {
        "observation.layers.0": INPUTS[network],
        "observation.layers.1": HIDDEN,
        "gating.layers.0": HIDDEN,
        "gating.layers.1": 96,
        "conditions.0": 9,
        "conditions.1": 18,
        "layers.0": HIDDEN,
        "layers.1": 64,
        "layers.2": 64,
    }
    bounds = {name: sqrt(6 / fan_in) for name, fan_in in fans.items()}
    bounds |= {"routes.0": 1e-3, "routes.1": 1e-3, "last_route": 1e-3}
    state = body.state_dict()
    for name, bound in bounds.items():
        assert not state.pop(f"{name}.bias").any(), name
        for member in state.pop(f"{name}.weight"):
            assert_uniform(member, bound)
    for member in state.pop("task_rows"):  # a linear layer on a one-hot of the tasks
        assert_uniform(member, sqrt(6 / TASKS))
    assert_uniform(state.pop("head.weight"), HEADS[network])
    assert set(state) == {"head.bias"}


def test_a_task_embedding_starts_in_any_direction() -> None:
    trunk = learner("mlp", task_input="embedding", embedding_dim=32).critic.body.trunk
    unit = torch.nn.functional.normalize(trunk.embedding.rows.detach(), dim=-1)
    for member in unit:
        alike = member @ member.T - torch.eye(TASKS)
        assert alike.abs().max() < 0.8
        assert alike.abs().mean() < 0.25
    for member in trunk.embedding.weight.detach():
        assert_uniform(member, sqrt(6 / 32))
