"""Initial weights are those of the two baselines that the configurations mirror, or PyTorch's."""

from collections.abc import Sequence
from math import sqrt

import pytest
import torch
from helpers import make_sac, make_spec
from torch import Tensor

from torchrl_lite.algo.sac import SAC
from torchrl_lite.network.layers import EnsembleLinear

OBS, ACT, HIDDEN = 39, 4, 256
TASKS = pytest.mark.parametrize("tasks", [1, 10])
NETWORKS = pytest.mark.parametrize("network", ["actor", "critic"])


def learner(init: str, tasks: int = 1) -> SAC:
    spec = make_spec(tasks, obs_dim=OBS, act_dim=ACT)
    return make_sac(spec, hidden=[HIDDEN, HIDDEN], init=init)


def hidden_layers(sac: SAC, network: str) -> list[EnsembleLinear]:
    return list(getattr(sac, network).body.trunk.layers)


def head(sac: SAC, network: str) -> EnsembleLinear:
    return getattr(sac, network).body.head


def fan_ins(network: str, tasks: int) -> list[int]:
    """Inputs of the first layer (a one-hot included, where there is a choice) and the second."""
    inputs = OBS + (ACT if network == "critic" else 0) + (tasks if tasks > 1 else 0)
    return [inputs, HIDDEN]


def assert_uniform(values: Tensor, bound: float) -> None:
    """Fills ±bound to its edges, with a uniform's mean and standard deviation."""
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


def members(layer: EnsembleLinear) -> Sequence[Tensor]:
    return list(layer.weight[:, 0].detach())


# --- garage: Xavier throughout, biases 0 ----------------------------------------------------------


@TASKS
def test_garage_draws_the_hidden_layers_of_the_policy_from_xavier_uniform(tasks: int) -> None:
    layers = hidden_layers(learner("garage", tasks), "actor")
    for layer, fan_in in zip(layers, fan_ins("actor", tasks), strict=True):
        assert_uniform(layer.weight.detach(), sqrt(6 / (fan_in + HIDDEN)))


@TASKS
def test_garage_draws_the_hidden_layers_of_each_critic_from_xavier_normal(tasks: int) -> None:
    layers = hidden_layers(learner("garage", tasks), "critic")
    for layer, fan_in in zip(layers, fan_ins("critic", tasks), strict=True):
        for weight in members(layer):
            assert_normal(weight, sqrt(2 / (fan_in + HIDDEN)))


def test_garage_draws_mean_and_log_std_as_two_heads() -> None:
    """Each is a linear layer with as many outputs as there are action dimensions.

    There are many of those here: with few, a head drawn for both at once would look the same.
    """
    many = 200
    sac = make_sac(make_spec(obs_dim=OBS, act_dim=many), hidden=[50])
    weight = head(sac, "actor").weight.detach()[0, 0]
    assert weight.shape == (50, 2 * many)
    for part in (weight[:, :many], weight[:, many:]):
        assert_uniform(part, sqrt(6 / (50 + many)))


def test_garage_draws_the_head_of_each_critic_from_xavier_normal() -> None:
    for weight in members(head(learner("garage"), "critic")):
        assert weight.shape == (HIDDEN, 1)
        assert_normal(weight, sqrt(2 / (HIDDEN + 1)))


@NETWORKS
def test_garage_starts_with_biases_of_zero_so_that_the_initial_std_is_about_one(
    network: str,
) -> None:
    sac = learner("garage")
    for layer in [*hidden_layers(sac, network), head(sac, network)]:
        assert not layer.bias.any()


def test_garage_draws_the_head_of_a_deterministic_policy_from_xavier_uniform() -> None:
    sac = make_sac(
        make_spec(obs_dim=OBS, act_dim=ACT), hidden=[HIDDEN, HIDDEN], policy="deterministic"
    )
    weight = head(sac, "actor").weight.detach()
    assert weight.shape == (1, 1, HIDDEN, ACT)
    assert_uniform(weight, sqrt(6 / (HIDDEN + ACT)))


# --- metaworld-algorithms: He for hidden layers, small heads --------------------------------------


@NETWORKS
@TASKS
def test_metaworld_algorithms_draws_hidden_layers_from_he_uniform(tasks: int, network: str) -> None:
    layers = hidden_layers(learner("metaworld_algorithms", tasks), network)
    for layer, fan_in in zip(layers, fan_ins(network, tasks), strict=True):
        for weight in members(layer):
            assert_uniform(weight, sqrt(6 / fan_in))


@NETWORKS
def test_metaworld_algorithms_starts_with_hidden_biases_of_zero(network: str) -> None:
    for layer in hidden_layers(learner("metaworld_algorithms"), network):
        assert not layer.bias.any()


def test_metaworld_algorithms_draws_the_actors_head_from_a_thousandth() -> None:
    layer = head(learner("metaworld_algorithms"), "actor")
    assert_uniform(layer.weight.detach(), 1e-3)


def test_metaworld_algorithms_draws_the_critics_heads_from_three_thousandths() -> None:
    for weight in members(head(learner("metaworld_algorithms"), "critic")):
        assert_uniform(weight, 3e-3)


@pytest.mark.parametrize(("network", "bound"), [("actor", 1e-3), ("critic", 3e-3)])
def test_metaworld_algorithms_draws_the_heads_biases_as_small_as_their_weights(
    network: str, bound: float
) -> None:
    bias = head(learner("metaworld_algorithms"), network).bias.detach()
    assert bias.abs().max() <= bound
    assert bias.all()
    assert bias.unique().numel() == bias.numel()


# --- torch: torch.nn.Linear's own -----------------------------------------------------------------


@NETWORKS
@TASKS
def test_torch_draws_weights_as_wide_as_a_torch_linear(tasks: int, network: str) -> None:
    sac = learner("torch", tasks)
    layers = [*hidden_layers(sac, network), head(sac, network)]
    for layer, fan_in in zip(layers, [*fan_ins(network, tasks), HIDDEN], strict=True):
        stock = torch.nn.Linear(fan_in, 2000).weight.detach()
        for weight in members(layer):
            assert_uniform(weight, 1 / sqrt(fan_in))
            assert weight.abs().max().item() == pytest.approx(stock.abs().max().item(), rel=0.05)


@NETWORKS
def test_torch_draws_biases_as_wide_as_a_torch_linear(network: str) -> None:
    sac = learner("torch")
    layers = [*hidden_layers(sac, network), head(sac, network)]
    for layer, fan_in in zip(layers, [*fan_ins(network, 1), HIDDEN], strict=True):
        stock = torch.nn.Linear(fan_in, 2000).bias.detach()
        bias = layer.bias.detach()
        assert bias.abs().max() <= 1 / sqrt(fan_in)
        assert bias.unique().numel() == bias.numel()
        if bias.numel() > 100:
            assert bias.std().item() == pytest.approx(stock.std().item(), rel=0.2)


@NETWORKS
def test_torch_adds_one_bias_to_all_one_hot_weights(network: str) -> None:
    """Differences of the rows are those of uniform weights; their mean is as wide as the bias."""
    bias = hidden_layers(learner("torch", 10), network)[0].bias.detach()
    variance = 1 / (3 * fan_ins(network, 10)[0])
    assert bias.var(1).mean().item() == pytest.approx(variance, rel=0.1)
    assert bias.mean(1).var().item() == pytest.approx(1.1 * variance, rel=0.25)


# --- all ------------------------------------------------------------------------------------------


def test_task_biases_of_an_actor_are_weights_of_a_one_hot() -> None:
    bias = hidden_layers(learner("garage", 10), "actor")[0].bias.detach()
    assert bias.shape == (1, 10, HIDDEN)
    assert_uniform(bias, sqrt(6 / (OBS + 10 + HIDDEN)))


def test_task_biases_of_garages_critics_are_weights_of_a_one_hot() -> None:
    bias = hidden_layers(learner("garage", 10), "critic")[0].bias.detach()
    assert bias.shape == (2, 10, HIDDEN)
    for rows in bias:
        assert_normal(rows, sqrt(2 / (OBS + ACT + 10 + HIDDEN)))


@NETWORKS
def test_task_biases_of_metaworld_algorithms_are_weights_of_a_one_hot(network: str) -> None:
    bias = hidden_layers(learner("metaworld_algorithms", 10), network)[0].bias.detach()
    (fan_in, _) = fan_ins(network, 10)
    for rows in bias:
        assert_uniform(rows, sqrt(6 / fan_in))


@pytest.mark.parametrize("init", ["garage", "metaworld_algorithms", "torch"])
def test_layers_behind_the_first_are_shared_by_all_tasks(init: str) -> None:
    sac = learner(init, 10)
    for network in ("actor", "critic"):
        for layer in [hidden_layers(sac, network)[1], head(sac, network)]:
            assert layer.weight.shape[1] == layer.bias.shape[1] == 1


@pytest.mark.parametrize("init", ["garage", "metaworld_algorithms", "torch"])
def test_the_two_critics_start_with_different_weights(init: str) -> None:
    sac = learner(init)
    for layer in [*hidden_layers(sac, "critic"), head(sac, "critic")]:
        first, second = members(layer)
        assert not (first == second).any()


def test_the_targets_start_as_copies_of_the_critics() -> None:
    sac = learner("garage", 10)
    pairs = zip(sac.target.parameters(), sac.critic.parameters(), strict=True)
    for target, critic in pairs:
        assert torch.equal(target, critic)
        assert target.data_ptr() != critic.data_ptr()


def test_every_task_starts_with_a_temperature_of_one() -> None:
    assert torch.equal(learner("garage", 10).log_alpha.exp(), torch.ones(10))
