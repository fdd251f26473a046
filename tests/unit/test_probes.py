"""Network diagnostics from evaluation episodes, checked by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from helpers import CPU, KINDS, make_learner, make_spec, random_batch, random_block

from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.collector.episode import EpisodeStats
from torchrl_lite.network.task_rows import task_parameters
from torchrl_lite.training.probes import (
    dead_units,
    gradient_cosine,
    probe,
    q_bias,
    saturated,
    td_error,
)
from torchrl_lite.types import Noise, Spec

SPEC = make_spec(2, obs_dim=1, act_dim=2)


def episode(task: int, *, rewards: list[float], actions: list[list[float]]) -> EpisodeStats:
    sample = np.zeros((len(actions), 1 + 2 + 1 + 3), np.float32)
    sample[:, 1:3] = actions
    return EpisodeStats(
        task, sum(rewards), len(rewards), None, sample=sample, rewards=np.array(rewards)
    )


def filled(spec: Spec, tasks: list[int]) -> ReplayBuffer:
    """A buffer with random transitions of these tasks."""
    buffer = ReplayBuffer(spec, 40, CPU)
    buffer.add_block(random_block(spec, 40), tasks)
    return buffer


def constant_critic(learner: Any, values: list[float]) -> None:
    """Each critic predicts its own value everywhere."""
    for parameter in learner.critic.parameters():
        parameter.data.zero_()
    learner.critic.body.head.bias.data[:, 0, 0] = torch.tensor(values)


@pytest.mark.parametrize(("combine", "value"), [("min", 7.0), ("mean", 8.0)])
def test_q_bias_is_the_combined_value_minus_the_scaled_return(combine: str, value: float) -> None:
    learner = make_learner(
        "sac", SPEC, discount=0.5, reward_scale=2.0, net={"critic": {"combine": combine}}
    )
    constant_critic(learner, [9.0, 7.0])
    buffer = ReplayBuffer(SPEC, 10, CPU)
    buffer.reward_scale.copy_(torch.tensor([1.0, 3.0]))
    zero = [[0.0, 0.0]]
    groups = {
        0: [episode(0, rewards=[1.0, 2.0], actions=zero), episode(0, rewards=[2.0], actions=zero)],
        1: [episode(1, rewards=[1.0, 2.0, 4.0], actions=zero)],
    }
    first, second = value - 2 * (2 + 2) / 2, value - 2 * 3 * 3
    assert q_bias(groups, learner, buffer) == {
        "eval/q": value,
        "eval/q_bias": (first + second) / 2,
        "eval_q_bias/task0": first,
        "eval_q_bias/task1": second,
    }


def test_tasks_without_transitions_are_ignored() -> None:
    """Their rewards have no scale yet."""
    learner, buffer = make_learner("sac", SPEC), filled(SPEC, [0])
    actions = [[0.0, 0.0]] * 3
    groups = {
        0: [episode(0, rewards=[1.0, 2.0, 3.0], actions=actions)],
        1: [episode(1, rewards=[1e6, 1e6, 1e6], actions=actions)],
    }
    alone = {0: groups[0]}
    assert probe(groups, learner, buffer) == probe(alone, learner, buffer) != {}
    assert td_error(groups, learner, buffer) == td_error(alone, learner, buffer) is not None
    assert probe({1: groups[1]}, learner, buffer) == {}


def test_saturated_actions_are_counted_per_dimension() -> None:
    groups = {
        0: [episode(0, rewards=[0.0], actions=[[1.0, 0.5], [-0.995, 0.98]])],
        1: [episode(1, rewards=[0.0], actions=[[0.0, 0.0]])],
    }
    assert saturated(groups, make_learner("td3", SPEC)) == (0.5 + 0.0) / 2


def test_units_that_are_zero_everywhere_are_dead() -> None:
    learner = make_learner("td3", SPEC, hidden=(4, 2))
    for network in (learner.actor, learner.critic):
        for layer in network.body.trunk.layers:
            layer.weight.data.zero_()
            layer.bias.data.fill_(-1.0)
    first, second = learner.actor.body.trunk.layers
    second.bias.data[..., 0] = 1.0
    # One unit that only the second task uses: its bias per task is the one-hot task input.
    first.bias.data[:, 1, 3] = 1.0
    batches = [random_batch(SPEC, tasks=[task], dtype=torch.float32) for task in (0, 1)]
    assert dead_units(batches, learner) == (pytest.approx(4 / 6), 1.0)
    assert dead_units(batches[:1], learner)[0] == pytest.approx(5 / 6)


@pytest.mark.parametrize("kind", KINDS)
def test_dead_units_are_found_in_every_architecture(kind: str) -> None:
    learner = make_learner("sac", SPEC, kind=kind)
    batches = [random_batch(SPEC, tasks=[task], dtype=torch.float32) for task in (0, 1)]
    assert all(0 <= share < 1 for share in dead_units(batches, learner))
    for parameter in learner.parameters():
        parameter.data.zero_()
    assert dead_units(batches, learner) == (1.0, 1.0)


@pytest.mark.parametrize("algo", ["sac", "td3"])
@pytest.mark.parametrize("kind", ["mlp", "multihead"])
def test_the_gradient_cosine_matches_one_backward_pass_per_task(algo: str, kind: str) -> None:
    spec = make_spec(3, obs_dim=4, act_dim=2)
    learner, buffer = make_learner(algo, spec, kind=kind), filled(spec, [0, 1, 2])
    seen: dict[str, torch.Tensor] = {}

    def record(batch: Any, noise: Noise) -> torch.Tensor:
        losses = type(learner).critic_loss(learner, batch, noise)
        copies, learner.critic.per_task_body = learner.critic.per_task_body, None
        seen["plain"] = type(learner).critic_loss(learner, batch, noise)
        learner.critic.per_task_body = copies
        return losses

    learner.critic_loss = record
    before = torch.get_rng_state(), learner._generator.get_state()
    (cosine,) = gradient_cosine(learner, buffer).values()
    after = torch.get_rng_state(), learner._generator.get_state()
    assert all(map(torch.equal, before, after))
    assert learner.critic.per_task_body is None
    assert all(p.grad is None for p in learner.parameters())
    per_task = {id(parameter) for parameter in task_parameters(learner.critic)}
    shared = [p for p in learner.critic.parameters() if id(p) not in per_task]
    grads = [
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, shared, retain_graph=True)])
        for loss in seen["plain"]
    ]
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = [torch.cosine_similarity(grads[i], grads[j], dim=0).item() for i, j in pairs]
    assert cosine == pytest.approx(sum(expected) / 3, abs=1e-5)
    assert abs(cosine) > 1e-3


def test_no_gradient_cosine_without_shared_weights_or_transitions() -> None:
    spec = make_spec(3, obs_dim=4, act_dim=2)
    assert gradient_cosine(make_learner("sac", spec), filled(spec, [1])) == {}
    assert gradient_cosine(make_learner("sac", spec), filled(spec, [0, 2])) != {}
    independent = make_learner("sac", spec, kind="independent")
    assert gradient_cosine(independent, filled(spec, [0, 1])) == {}
    one = make_spec(1, obs_dim=4, act_dim=2)
    assert gradient_cosine(make_learner("sac", one), filled(one, [0])) == {}
