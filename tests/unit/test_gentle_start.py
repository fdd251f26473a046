"""Gentle start for transferred weights: scaled learning rates and a frozen policy."""

from typing import Any

import pytest
import torch
from helpers import make_learner, make_spec, run_updates, through_a_file
from tiny_runs import assert_same_bits
from torch import Tensor

SPEC = make_spec(2)
POLICY = ("actor", "alpha")


def learner_of(algo: str, *, frozen: int = 0, **config: Any) -> Any:
    learner = make_learner(algo, SPEC, **config)
    learner.start_gently(lr_multiplier=0.3, frozen_updates=frozen)
    return learner


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


@pytest.mark.parametrize("algo", ["sac", "ddpg"])
def test_every_optimiser_has_its_own_rate_scaled(algo: str) -> None:
    learner = learner_of(algo, plr=1e-3, qlr=2e-3, adam_eps=1e-5)
    rates = {"critic": 0.6e-3, "actor": 0.3e-3, "alpha": 0.3e-3}
    for name, optimizer in learner.optimizers.items():
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rates[name])
        assert optimizer.param_groups[0]["eps"] == 1e-5


@pytest.mark.parametrize(
    ("algo", "kind"), [("sac", "mlp"), ("sac", "independent"), ("td3", "mlp"), ("ddpg", "mlp")]
)
def test_the_policy_is_frozen_for_the_given_number_of_updates(algo: str, kind: str) -> None:
    learner = learner_of(algo, frozen=6, kind=kind)
    before = trained_parts(learner)

    run_updates(learner, 6)

    after = trained_parts(learner)
    assert learner.flush()["train/actor_grad_norm"] > 0  # it is still measured
    for name in learner.optimizers:
        assert equal(before[name], after[name]) == (name in POLICY), name

    run_updates(learner, 2)

    later = trained_parts(learner)
    for name, optimizer in learner.optimizers.items():
        assert not equal(after[name], later[name]), name
        steps = {int(optimizer.state[p]["step"]) for p in optimizer.param_groups[0]["params"]}
        delay = 2 if algo == "td3" and name == "actor" else 1
        assert steps == {8 if name == "critic" else 2 // delay}, name  # no earlier moments


@pytest.mark.parametrize(("algo", "stopped"), [("sac", 2), ("td3", 4), ("sac", 5)])
def test_a_run_resumed_while_frozen_equals_an_uninterrupted_one(algo: str, stopped: int) -> None:
    whole, first = (learner_of(algo, frozen=4) for _ in range(2))
    run_updates(whole, 8)
    run_updates(first, stopped)
    resumed = make_learner(algo, SPEC, seed=5)

    resumed.load_training_state(through_a_file(first.training_state()))
    run_updates(resumed, 8 - stopped)

    assert_same_bits(trained_parts(resumed), trained_parts(whole))
    rates = [optimizer.param_groups[0]["lr"] for optimizer in resumed.optimizers.values()]
    assert rates == pytest.approx([0.3 * 3e-4] * len(rates))
