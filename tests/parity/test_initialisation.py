"""Initial weights match the two baselines that the configurations mirror, or PyTorch."""

from collections.abc import Callable
from math import sqrt
from typing import Any

import pytest
import torch
from helpers import KINDS, make_sac, make_spec
from torch import Tensor

from torchrl_lite.algo.sac import SAC
from torchrl_lite.network.layers import EnsembleLinear

OBS, ACT, HIDDEN = 39, 4, 256
HEADS = {"actor": 1e-3, "critic": 3e-3}
"""Bounds of the head weights in metaworld-algorithms."""
TASKS = pytest.mark.parametrize("tasks", [1, 10])
NETWORKS = pytest.mark.parametrize("network", ["actor", "critic"])


def learner(init: str, tasks: int = 1, **config: str) -> SAC:
    spec = make_spec(tasks, obs_dim=OBS, act_dim=ACT)
    return make_sac(spec, hidden=[HIDDEN, HIDDEN], init=init, **config)


def hidden_layers(sac: SAC, network: str) -> list[EnsembleLinear]:
    return list(getattr(sac, network).body.trunk.layers)


def head(sac: SAC, network: str) -> EnsembleLinear:
    return getattr(sac, network).body.head


def fan_ins(network: str, tasks: int) -> list[int]:
    """Inputs of the first layer (including a one-hot of several tasks) and the second."""
    inputs = OBS + (ACT if network == "critic" else 0) + (tasks if tasks > 1 else 0)
    return [inputs, HIDDEN]


def assert_uniform(values: Tensor, bound: float) -> None:
    """Covers ±bound up to its edges, with the mean and standard deviation of a uniform."""
    count = values.numel()
    assert values.abs().max() <= bound
    assert values.abs().max() > bound * (1 - 20 / count)
    assert values.mean().abs() < 4 * bound / sqrt(3 * count)
    assert values.std().item() == pytest.approx(bound / sqrt(3), rel=3 / sqrt(count))


def assert_normal(values: Tensor, std: float) -> None:
    count = values.numel()
    assert values.mean().abs() < 4 * std / sqrt(count)
    assert values.std().item() == pytest.approx(std, rel=4 / sqrt(2 * count))
    tail = (values.abs() > 2 * std).double().mean().item()
    assert tail == pytest.approx(0.0455, abs=4 * sqrt(0.0455 / count))  # 0 for a uniform


def members(layer: EnsembleLinear) -> list[Tensor]:
    return list(layer.weight[:, 0].detach())


def xavier_uniform(values: Tensor, fan_in: int) -> None:
    assert_uniform(values, sqrt(6 / (fan_in + HIDDEN)))


def xavier_normal(values: Tensor, fan_in: int) -> None:
    assert_normal(values, sqrt(2 / (fan_in + HIDDEN)))


def he_uniform(values: Tensor, fan_in: int) -> None:
    assert_uniform(values, sqrt(6 / fan_in))


@pytest.mark.parametrize(
    ("init", "network", "check"),
    [
        ("garage", "actor", xavier_uniform),
        ("garage", "critic", xavier_normal),
        ("metaworld_algorithms", "actor", he_uniform),
        ("metaworld_algorithms", "critic", he_uniform),
    ],
)
@TASKS
def test_hidden_layers(
    init: str, network: str, check: Callable[[Tensor, int], None], tasks: int
) -> None:
    """With several tasks, the first biases are the weights of a one-hot; all others are zero."""
    first, second = hidden_layers(learner(init, tasks), network)
    for layer, fan_in in zip((first, second), fan_ins(network, tasks), strict=True):
        for weight in members(layer):
            check(weight, fan_in)
    if tasks > 1:
        assert first.bias.shape[1:] == (tasks, HIDDEN)
        for rows in first.bias.detach():
            check(rows, fan_ins(network, tasks)[0])
    else:
        assert not first.bias.any()
    assert not second.bias.any()
    assert second.weight.shape[1] == second.bias.shape[1] == 1  # shared by all tasks


def test_garage_draws_mean_and_log_std_as_two_heads() -> None:
    """Each has one output per action dimension; with few, a joint head would look the same."""
    many = 200
    sac = make_sac(make_spec(obs_dim=OBS, act_dim=many), hidden=[50])
    weight = head(sac, "actor").weight.detach()[0, 0]
    assert weight.shape == (50, 2 * many)
    for part in (weight[:, :many], weight[:, many:]):
        assert_uniform(part, sqrt(6 / (50 + many)))


def test_garage_draws_the_other_heads_like_hidden_layers() -> None:
    sac = learner("garage", policy="deterministic")
    (weight,) = members(head(sac, "actor"))
    assert_uniform(weight, sqrt(6 / (HIDDEN + ACT)))
    for weight in members(head(sac, "critic")):
        assert_normal(weight, sqrt(2 / (HIDDEN + 1)))
    for network in ("actor", "critic"):
        assert not head(sac, network).bias.any()


@NETWORKS
@TASKS
def test_torch_draws_like_a_torch_linear(tasks: int, network: str) -> None:
    sac = learner("torch", tasks)
    layers = [*hidden_layers(sac, network), head(sac, network)]
    for layer, fan_in in zip(layers, [*fan_ins(network, tasks), HIDDEN], strict=True):
        stock = torch.nn.Linear(fan_in, 2000)
        for weight in members(layer):
            assert_uniform(weight, 1 / sqrt(fan_in))
            assert weight.abs().max() == pytest.approx(stock.weight.abs().max().item(), rel=0.05)
        bias = layer.bias.detach()
        if bias.shape[1] == 1:
            assert bias.unique().numel() == bias.numel()
            assert bias.abs().max() <= 1 / sqrt(fan_in)
            if bias.numel() > 100:
                assert bias.std().item() == pytest.approx(stock.bias.std().item(), rel=0.2)


@NETWORKS
def test_torch_adds_a_shared_bias_to_all_one_hot_weights(network: str) -> None:
    """Rows vary like uniform weights around a mean that varies like the bias."""
    bias = hidden_layers(learner("torch", 10), network)[0].bias.detach()
    variance = 1 / (3 * fan_ins(network, 10)[0])
    assert bias.var(1).mean().item() == pytest.approx(variance, rel=0.1)
    assert bias.mean(1).var().item() == pytest.approx(1.1 * variance, rel=0.25)


@pytest.mark.parametrize("init", ["garage", "metaworld_algorithms", "torch"])
def test_two_critics_start_different_and_their_targets_as_copies(init: str) -> None:
    sac = learner(init)
    for layer in [*hidden_layers(sac, "critic"), head(sac, "critic")]:
        first, second = members(layer)
        assert not (first == second).any()
    for target, critic in zip(sac.target.parameters(), sac.critic.parameters(), strict=True):
        assert torch.equal(target, critic)
        assert target.data_ptr() != critic.data_ptr()


MANY, WIDTH = 10, 128


def of_kind(kind: str, **net: Any) -> SAC:
    """A multi-task architecture with metaworld-algorithms' initialisation."""
    spec = make_spec(MANY, obs_dim=OBS, act_dim=ACT)
    init = "metaworld_algorithms"
    return make_sac(spec, hidden=[WIDTH, WIDTH], init=init, net={"kind": kind, **net})


@NETWORKS
@pytest.mark.parametrize("kind", KINDS)
def test_metaworld_algorithms_draws_small_heads(kind: str, network: str) -> None:
    """Of ensemble members, and of tasks and PaCo's sets where they have their own."""
    head = getattr(of_kind(kind), network).body.head
    own = {"multihead": MANY, "independent": MANY, "moore": MANY, "paco": 5}.get(kind, 1)
    for tensor in (head.weight.detach(), head.bias.detach()):
        assert tensor.shape[1] == own
        assert tensor.abs().min() > 0 and tensor.abs().max() <= HEADS[network]
        rows = tensor.flatten(0, 1).flatten(1)
        assert rows.unique(dim=0).shape == rows.shape
    assert head.bias.unique().numel() == head.bias.numel()
    for member in head.weight.detach():
        assert_uniform(member, HEADS[network])


def fans_of(kind: str, network: str) -> dict[str, int]:
    """Inputs of the layers that start with He's initialisation; those of tasks, as a layer on a
    one-hot of the tasks."""
    inputs = fan_ins(network, 1)[0]  # independent agents have no one-hot inputs
    return {
        "independent": {"trunk.layers.0": inputs, "trunk.layers.1": WIDTH},
        "moore": {"trunk.w": MANY, "trunk.experts.layers.0": inputs},
        "care": {"trunk.encoders.layers.0": OBS},
        "soft_module": {
            "observation.layers.0": inputs,
            "observation.layers.1": WIDTH,
            "task_rows": MANY,
            "gating.layers.0": WIDTH,
            "gating.layers.1": 96,
            "conditions.0": 9,
            "conditions.1": 18,
            "layers.0": WIDTH,
            "layers.1": 64,
            "layers.2": 64,
        },
    }[kind]


@NETWORKS
@pytest.mark.parametrize("kind", ["independent", "moore", "care", "soft_module"])
def test_layers_start_as_in_metaworld_algorithms(kind: str, network: str) -> None:
    """Also those of experts, encoders and modules, which are independent of each other. Routes
    start near uniform."""
    sizes = {"num_layers": 3, "num_modules": 3, "module_hidden": 64, "gating_hidden": 96}
    state = getattr(of_kind(kind, soft_module=sizes), network).body.state_dict()
    bounds = {name: sqrt(6 / fan_in) for name, fan_in in fans_of(kind, network).items()}
    if kind == "soft_module":
        bounds |= {"routes.0": 1e-3, "routes.1": 1e-3, "last_route": 1e-3}
    for name, bound in bounds.items():
        bias = state.pop(f"{name}.bias", None)
        assert bias is None or not bias.any(), name
        weight = state.pop(f"{name}.weight") if f"{name}.weight" in state else state.pop(name)
        copies = weight.flatten(0, 1) if weight.ndim == 4 else weight
        for copy in copies:
            assert_uniform(copy, bound)
        if len(copies) > 1:
            alike = torch.corrcoef(copies.flatten(1)).fill_diagonal_(0).abs().max()
            assert alike < 5 / sqrt(copies[0].numel()), name
    if kind == "soft_module":
        assert set(state) == {"head.weight", "head.bias"}


DIRECTIONS = {
    "mlp": ("trunk.embedding.rows", {"task_input": "embedding", "embedding_dim": 32}),
    "paco": ("w", {"paco": {"num_sets": 32}}),
    "care": ("trunk.task_rows", {}),
}


@pytest.mark.parametrize("kind", DIRECTIONS)
def test_task_vectors_start_in_different_directions(kind: str) -> None:
    name, fields = DIRECTIONS[kind]
    critic = of_kind(kind, **fields).critic.body
    unit = torch.nn.functional.normalize(critic.get_parameter(name).detach(), dim=-1)
    for member in unit:
        alike = member @ member.T - torch.eye(MANY)
        assert alike.abs().max() < 0.8
        assert alike.abs().mean() < 0.25
    if kind == "mlp":
        for member in critic.trunk.embedding.weight.detach():
            assert_uniform(member, sqrt(6 / 32))
