"""Gentle start for transferred weights: scaled learning rates and a frozen policy."""

from typing import Any

import pytest
import torch
from helpers import CPU, make_learner, make_spec, random_block, through_a_file
from torch import Tensor

from torchrl_lite.algo.replay_buffer import ReplayBuffer

SPEC = make_spec(2)
POLICY = ("actor", "alpha")


def textbook_adam(start: Tensor, grads: list[Tensor], *, lr: float, eps: float) -> Tensor:
    """Kingma & Ba 2015, algorithm 1."""
    value, m, v = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for t, grad in enumerate(grads, start=1):
        m = 0.9 * m + 0.1 * grad
        v = 0.999 * v + 0.001 * grad**2
        value = value - lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + eps)
    return value


def learner_of(algo: str, *, frozen: int = 0, seed: int = 0, **config: Any) -> Any:
    learner = make_learner(algo, SPEC, seed=seed, **config)
    learner.start_gently(lr_multiplier=0.3, frozen_updates=frozen)
    return learner


def buffer_of(spec: Any = SPEC) -> ReplayBuffer:
    buffer = ReplayBuffer(spec, 40, CPU)
    buffer.add_block(random_block(spec, 30), range(spec.num_tasks))
    return buffer


def run(learner: Any, updates: int, tasks: tuple[int, ...] = (0, 1)) -> None:
    learner.run(buffer_of(), tasks, opt_steps=updates, batch_size=8)


def trained_parts(learner: Any) -> dict[str, list[Tensor]]:
    """Parameters and moments of each optimiser."""
    return {
        name: [
            tensor.detach().clone()
            for parameter in optimizer.param_groups[0]["params"]
            for tensor in (parameter, *optimizer.state[parameter].values())
        ]
        for name, optimizer in learner.optimizers.items()
    }


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


@pytest.mark.parametrize(("algo", "multiplier"), [("sac", 0.3), ("ddpg", 2.0)])
def test_every_optimiser_is_adam_with_the_scaled_rate(algo: str, multiplier: float) -> None:
    learner = make_learner(algo, SPEC, dtype=torch.float64, plr=1e-3, qlr=2e-3, adam_eps=1e-5)
    learner.start_gently(lr_multiplier=multiplier, frozen_updates=0)
    rates = {"critic": 2e-3, "actor": 1e-3, "alpha": 1e-3}
    for name, optimizer in learner.optimizers.items():
        parameters = optimizer.param_groups[0]["params"]
        starts = [p.detach().clone() for p in parameters]
        grads: list[list[Tensor]] = [[] for _ in parameters]
        for _ in range(3):  # gradients of the sum of (p - 1)^2
            for history, parameter in zip(grads, parameters, strict=True):
                history.append(2 * (parameter.detach() - 1))
            loss = sum((p - 1).square().sum() for p in parameters)
            learner.step(name, loss.expand(2), torch.arange(2))
        for parameter, start, history in zip(parameters, starts, grads, strict=True):
            expected = textbook_adam(start, history, lr=multiplier * rates[name], eps=1e-5)
            torch.testing.assert_close(parameter.detach(), expected)


@pytest.mark.parametrize(
    ("algo", "kind"), [("sac", "mlp"), ("sac", "independent"), ("td3", "mlp"), ("ddpg", "mlp")]
)
def test_the_policy_is_frozen_for_the_given_number_of_updates(algo: str, kind: str) -> None:
    learner = learner_of(algo, frozen=6, kind=kind)
    before = trained_parts(learner)

    run(learner, 6)

    after = trained_parts(learner)
    assert learner.flush()["train/actor_grad_norm"] > 0  # it is still measured
    for name in learner.optimizers:
        assert equal(before[name], after[name]) == (name in POLICY), name

    run(learner, 2)

    later = trained_parts(learner)
    for name, optimizer in learner.optimizers.items():
        assert not equal(after[name], later[name]), name
        steps = {int(optimizer.state[p]["step"]) for p in optimizer.param_groups[0]["params"]}
        delay = 2 if algo == "td3" and name == "actor" else 1
        assert steps == {8 if name == "critic" else 2 // delay}, name  # no earlier moments


@pytest.mark.parametrize(("algo", "stopped"), [("sac", 2), ("td3", 4), ("sac", 5)])
def test_a_run_resumed_while_frozen_equals_an_uninterrupted_one(algo: str, stopped: int) -> None:
    whole, first = (learner_of(algo, frozen=4) for _ in range(2))
    run(whole, 8)
    run(first, stopped)
    resumed = make_learner(algo, SPEC, seed=5)

    resumed.load_training_state(through_a_file(first.training_state()))
    run(resumed, 8 - stopped)

    for name, parts in trained_parts(whole).items():
        assert equal(parts, trained_parts(resumed)[name]), name
    rates = [optimizer.param_groups[0]["lr"] for optimizer in resumed.optimizers.values()]
    assert rates == pytest.approx([0.3 * 3e-4] * len(rates))
