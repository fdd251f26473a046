"""Layers, bodies and roles against loops and plain formulas."""

import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from helpers import make_sac, make_spec, padded_spec
from torch import Tensor

from torchrl_lite.algo.sac import SAC
from torchrl_lite.network.layers import grouped_linear

E, T, B, I, O = 2, 3, 5, 4, 6  # noqa: E741 - the project's dimension names
NUM_TASKS = 4
ALL = torch.tensor([0, 1])


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def double_loop(x: Tensor, weight: Tensor, bias: Tensor, task: Tensor) -> Tensor:
    """What `grouped_linear` computes, one ensemble member and one task row at a time."""
    outputs = [
        x[member % len(x), row] @ weight[member, index % weight.shape[1]]
        + bias[member, index % bias.shape[1]]
        for member in range(E)
        for row, index in enumerate(task.tolist())
    ]
    return torch.stack(outputs).view(E, T, B, O)


@pytest.mark.parametrize("task", [[3, 0, 2], [1, 1, 1]], ids=str)
@pytest.mark.parametrize("own_weight", [False, True], ids=["shared weight", "weight per task"])
@pytest.mark.parametrize("own_bias", [False, True], ids=["shared bias", "bias per task"])
@pytest.mark.parametrize("inputs", [1, E], ids=["shared input", "input per member"])
def test_a_grouped_layer_equals_a_loop_over_members_and_task_rows(
    inputs: int, own_bias: bool, own_weight: bool, task: list[int]
) -> None:
    """Including gradients, with tasks in any order and rows of the same task."""
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


def test_shapes_that_violate_a_signature_are_caught() -> None:
    """Proof that the tests check signatures at run time."""
    x, weight, bias = normal(1, T, B, I), normal(E, 1, I, O), normal(E, 1, O)
    with pytest.raises(BeartypeCallHintViolation):
        grouped_linear(x, weight, bias, task=torch.tensor([0]))


def outputs(sac: SAC, obs: Tensor, noise: Tensor, act: Tensor, task: Tensor) -> list[Tensor]:
    """All outputs of the networks for these observations and actions."""
    return [
        sac.actor.act(obs, task),
        sac.actor.explore(obs, task, noise),
        *sac.actor.sample(obs, task, noise),
        sac.critic(obs, act, task),
    ]


@pytest.mark.parametrize("policy", ["gaussian", "deterministic"])
@pytest.mark.parametrize("order", [[1, 0], [1], [0, 0, 1]], ids=str)
def test_rows_in_any_order_have_the_masks_of_their_tasks(policy: str, order: list[int]) -> None:
    """As when environments act in groups, or a stage of a curriculum trains."""
    small_and_large = padded_spec([3, 5], [2, 4])
    sac = make_sac(small_and_large, hidden=[16], dtype=torch.float64, policy=policy)
    rows = torch.tensor(order)
    obs, noise, act = normal(2, B, 5), normal(2, B, 4), normal(2, B, 4)
    both = outputs(sac, obs, noise, act, ALL)
    mine = outputs(sac, obs[rows], noise[rows], act[rows], rows)
    for one, expected in zip(mine[:-1], both[:-1], strict=True):
        torch.testing.assert_close(one, expected[rows])
    torch.testing.assert_close(mine[-1], both[-1][:, rows])


def test_a_gaussian_policy_explores_with_samples_and_acts_with_its_mean() -> None:
    sac = make_sac(make_spec(2), dtype=torch.float64)
    obs, noise = normal(2, B, 5), normal(2, B, 2)
    sampled, _ = sac.actor.sample(obs, ALL, noise)
    assert torch.equal(sac.actor.explore(obs, ALL, noise), sampled)
    assert torch.equal(sac.actor.act(obs, ALL), sac.actor(obs, ALL)[0].tanh())


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
