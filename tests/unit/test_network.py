"""Layers, bodies and roles against loops and plain formulas."""

from itertools import product
from math import log, pi

import pytest
import torch
from helpers import make_sac, make_spec, padded_spec
from jaxtyping import TypeCheckError
from torch import Tensor

from torchrl_lite.algo.sac import SAC
from torchrl_lite.network.initialisation import Init, xavier_uniform, zeros
from torchrl_lite.network.layers import grouped_linear
from torchrl_lite.network.mlp import MLP
from torchrl_lite.network.task_input import TaskInput

E, T, B, I, O = 2, 3, 5, 4, 6  # noqa: E741 - the project's names of dimensions
NUM_TASKS = 4
ALL = torch.tensor([0, 1])


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def double_loop(x: Tensor, weight: Tensor, bias: Tensor, task: Tensor) -> Tensor:
    """What `grouped_linear` computes, one ensemble member and one task row at a time."""
    members = []
    for member in range(weight.shape[0]):
        rows = []
        for row, index in enumerate(task.tolist()):
            inputs = x[member if x.shape[0] > 1 else 0, row]
            matrix = weight[member, index if weight.shape[1] > 1 else 0]
            offset = bias[member, index if bias.shape[1] > 1 else 0]
            rows.append(inputs @ matrix + offset)
        members.append(torch.stack(rows))
    return torch.stack(members)


@pytest.mark.parametrize("task", [[0, 1, 2], [3, 0, 2], [1, 1, 1]], ids=str)
@pytest.mark.parametrize("own_weight", [False, True], ids=["shared weight", "weight per task"])
@pytest.mark.parametrize("own_bias", [False, True], ids=["shared bias", "bias per task"])
@pytest.mark.parametrize("inputs", [1, E], ids=["one input for all", "an input per member"])
def test_a_grouped_layer_is_a_loop_over_members_and_task_rows(
    inputs: int, own_bias: bool, own_weight: bool, task: list[int]
) -> None:
    """Also for the gradients, for tasks in any order and for rows of the same task."""
    x = normal(inputs, T, B, I, seed=1).requires_grad_()
    weight = normal(E, NUM_TASKS if own_weight else 1, I, O, seed=2).requires_grad_()
    bias = normal(E, NUM_TASKS if own_bias else 1, O, seed=3).requires_grad_()
    rows = torch.tensor(task)

    mine = grouped_linear(x, weight, bias, task=rows)
    expected = double_loop(x, weight, bias, rows)
    torch.testing.assert_close(mine, expected, rtol=0, atol=1e-12)
    by = normal(*expected.shape, seed=4)
    grads = torch.autograd.grad((mine * by).sum(), (x, weight, bias))
    expected_grads = torch.autograd.grad((expected * by).sum(), (x, weight, bias))
    torch.testing.assert_close(grads, expected_grads, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("ensemble", "weight_rows", "bias_rows"), list(product([1, E], [1, NUM_TASKS], [1, NUM_TASKS]))
)
def test_a_grouped_layer_serves_a_single_row_of_a_single_transition(
    ensemble: int, weight_rows: int, bias_rows: int
) -> None:
    x, task = normal(1, 1, 1, I), torch.tensor([NUM_TASKS - 1])
    weight, bias = normal(ensemble, weight_rows, I, O), normal(ensemble, bias_rows, O)
    mine = grouped_linear(x, weight, bias, task=task)
    assert mine.shape == (ensemble, 1, 1, O)
    torch.testing.assert_close(mine, double_loop(x, weight, bias, task))


def test_shapes_that_do_not_fit_a_signature_are_caught() -> None:
    """The tests run with checked signatures; here is the proof."""
    with pytest.raises(TypeCheckError):
        grouped_linear(
            normal(1, T, B, I), normal(E, 1, I, O), normal(E, 1, O), task=torch.tensor([0])
        )


# --- one-hot --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ensemble", [1, E])
def test_a_bias_row_per_task_is_a_one_hot_at_the_input(ensemble: int) -> None:
    torch.manual_seed(0)
    mlp = MLP(
        I,
        [8, 7],
        ensemble=ensemble,
        task_input=TaskInput("onehot", NUM_TASKS),
        init=Init(xavier_uniform, zeros),
    ).double()
    x, task = normal(1, T, B, I), torch.tensor([3, 0, 3])

    first, second = mlp.layers
    one_hot = torch.eye(NUM_TASKS, dtype=torch.float64)[task][:, None].expand(T, B, NUM_TASKS)
    glued = torch.cat((x[0], one_hot), dim=-1)
    for member in range(ensemble):
        columns = torch.cat((first.weight[member, 0], first.bias[member]))
        hidden = (glued @ columns).relu()
        expected = (hidden @ second.weight[member, 0] + second.bias[member, 0]).relu()
        torch.testing.assert_close(mlp(x, task)[member], expected, rtol=0, atol=1e-12)


def test_a_single_task_has_a_plain_bias() -> None:
    mlp = MLP(I, [8, 7], init=Init(xavier_uniform, zeros))
    assert [tuple(layer.bias.shape) for layer in mlp.layers] == [(1, 1, 8), (1, 1, 7)]


# --- padding --------------------------------------------------------------------------------------


OBS_DIMS, ACT_DIMS = [3, 5], [2, 4]
POLICIES = pytest.mark.parametrize("policy", ["gaussian", "deterministic"])


def padded(policy: str = "gaussian") -> SAC:
    """Two tasks, the first one smaller."""
    spec = padded_spec(OBS_DIMS, ACT_DIMS)
    return make_sac(spec, hidden=[16], dtype=torch.float64, policy=policy)


def outputs(sac: SAC, obs: Tensor, noise: Tensor, act: Tensor, task: Tensor) -> list[Tensor]:
    """All that the networks say about these observations and actions."""
    return [
        sac.actor.act(obs, task),
        sac.actor.explore(obs, task, noise),
        *sac.actor.sample(obs, task, noise),
        sac.critic(obs, act, task),
    ]


@POLICIES
@pytest.mark.parametrize("task", [[0, 1], [1, 0], [0, 0]], ids=str)
def test_padding_of_an_observation_changes_nothing(policy: str, task: list[int]) -> None:
    sac, rows = padded(policy), torch.tensor(task)
    obs, noise, act = normal(2, B, 5), normal(2, B, 4), normal(2, B, 4)
    other = obs.clone()
    other[rows == 0, :, 3:] = 1e6
    for mine, changed in zip(
        outputs(sac, obs, noise, act, rows), outputs(sac, other, noise, act, rows), strict=True
    ):
        assert torch.equal(mine, changed)


@POLICIES
@pytest.mark.parametrize("order", [[1, 0], [1], [0, 0, 1]], ids=str)
def test_rows_in_any_order_wear_the_masks_of_their_tasks(policy: str, order: list[int]) -> None:
    """As environments act in groups, and as a stage of a curriculum trains."""
    sac, rows = padded(policy), torch.tensor(order)
    obs, noise, act = normal(2, B, 5), normal(2, B, 4), normal(2, B, 4)
    both = outputs(sac, obs, noise, act, ALL)
    mine = outputs(sac, obs[rows], noise[rows], act[rows], rows)
    for one, expected in zip(mine[:-1], both[:-1], strict=True):
        torch.testing.assert_close(one, expected[rows])
    torch.testing.assert_close(mine[-1], both[-1][:, rows])


@POLICIES
def test_every_feature_that_a_task_has_matters(policy: str) -> None:
    """Or the test above would pass for networks that see nothing."""
    sac = padded(policy)
    obs, noise, act = normal(2, B, 5), normal(2, B, 4), normal(2, B, 4)
    before = outputs(sac, obs, noise, act, ALL)
    for task, size in enumerate(OBS_DIMS):
        for feature in range(size):
            other = obs.clone()
            other[task, :, feature] += 1.0
            after = outputs(sac, other, noise, act, ALL)
            assert not torch.equal(after[0][task], before[0][task])
            assert not torch.equal(after[-1][:, task], before[-1][:, task])


@POLICIES
def test_action_dimensions_that_a_task_lacks_are_zero(policy: str) -> None:
    sac = padded(policy)
    obs, noise = normal(2, B, 5), normal(2, B, 4)
    actor = sac.actor
    for act in (
        actor.act(obs, ALL),
        actor.explore(obs, ALL, noise),
        actor.sample(obs, ALL, noise)[0],
    ):
        assert not act[0, :, 2:].any()
        assert act[0, :, :2].all()
        assert act[1].all()


def test_the_log_probability_counts_the_dimensions_that_a_task_has() -> None:
    sac = padded()
    obs, noise = normal(2, B, 5), normal(2, B, 4)
    mean, log_std = sac.actor(obs, ALL)
    u = mean + log_std.exp() * noise
    normal_log_prob = -0.5 * noise**2 - log_std - 0.5 * log(2 * pi)
    by_dimension = normal_log_prob - torch.log(1 - torch.tanh(u) ** 2)
    _, logp = sac.actor.sample(obs, ALL, noise)
    for task, size in enumerate(ACT_DIMS):
        torch.testing.assert_close(logp[task], by_dimension[task, :, :size].sum(-1))


def test_noise_in_dimensions_that_a_task_lacks_changes_nothing() -> None:
    sac = padded()
    obs, noise = normal(2, B, 5), normal(2, B, 4)
    other = noise.clone()
    other[0, :, 2:] = 5.0
    for mine, changed in zip(
        sac.actor.sample(obs, ALL, noise), sac.actor.sample(obs, ALL, other), strict=True
    ):
        assert torch.equal(mine, changed)


def test_critics_ignore_actions_in_dimensions_that_a_task_lacks() -> None:
    sac = padded()
    obs, act = normal(2, B, 5), normal(2, B, 4)
    other = act.clone()
    other[0, :, 2:] = 1e6
    assert torch.equal(sac.critic(obs, act, ALL), sac.critic(obs, other, ALL))


def test_padding_has_no_gradient() -> None:
    """A batch of the smaller task alone leaves the weights of its missing inputs where they are."""
    sac, task = padded(), torch.tensor([0])
    obs, act = normal(1, B, 5), normal(1, B, 4)
    weight = sac.critic.body.trunk.layers[0].weight
    (grad,) = torch.autograd.grad(sac.critic(obs, act, task).sum(), [weight])
    missing, present = [3, 4, 7, 8], [0, 1, 2, 5, 6]
    assert not grad[:, :, missing].any()
    assert grad[:, :, present].any(dim=-1).all()


def test_the_target_entropy_counts_the_dimensions_that_a_task_has() -> None:
    assert padded().target_entropy.tolist() == [-2, -4]


# --- roles ----------------------------------------------------------------------------------------


def test_evaluation_acts_with_the_tanh_of_the_mean() -> None:
    sac = make_sac(make_spec(2), dtype=torch.float64)
    obs = normal(2, B, 5)
    assert torch.equal(sac.actor.act(obs, ALL), sac.actor(obs, ALL)[0].tanh())


@POLICIES
def test_exploring_and_sampling_agree_on_the_action(policy: str) -> None:
    sac = make_sac(make_spec(2), dtype=torch.float64, policy=policy)
    obs, noise = normal(2, B, 5), normal(2, B, 2)
    sampled, _ = sac.actor.sample(obs, ALL, noise)
    assert torch.equal(sac.actor.explore(obs, ALL, noise), sampled)


def test_a_deterministic_policy_explores_with_clipped_noise_inside_the_bounds() -> None:
    spec = make_spec(2)
    sac = make_sac(spec, dtype=torch.float64, policy="deterministic", noise_std=0.5, noise_clip=0.6)
    obs, noise = normal(2, 200, 5), normal(2, 200, 2)
    act = sac.actor.act(obs, ALL)
    expected = (act + (0.5 * noise).clamp(-0.6, 0.6)).clamp(-1, 1)
    explored = sac.actor.explore(obs, ALL, noise)
    torch.testing.assert_close(explored, expected)
    assert (0.5 * noise).abs().max() > 0.6
    assert (explored.abs() == 1).any()


def test_a_deterministic_policy_has_log_probability_zero() -> None:
    sac = make_sac(make_spec(2), dtype=torch.float64, policy="deterministic")
    _, logp = sac.actor.sample(normal(2, B, 5), ALL, normal(2, B, 2))
    assert torch.equal(logp, torch.zeros(2, B).double())


def test_critics_of_an_ensemble_are_independent() -> None:
    sac = make_sac(make_spec(2), dtype=torch.float64)
    obs, act = normal(2, B, 5), normal(2, B, 2)
    before = sac.critic(obs, act, ALL)
    for parameter in sac.critic.parameters():
        torch.nn.init.uniform_(parameter.data[1], -0.5, 0.5)
    after = sac.critic(obs, act, ALL)
    assert torch.equal(before[0], after[0])
    assert not (before[1] == after[1]).any()
