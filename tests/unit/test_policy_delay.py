"""SAC with fewer updates of the policy and temperature than of the critics."""

from typing import Any

import pytest
import torch
from helpers import CPU, make_sac, make_spec, random_block
from torch import Tensor

from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.algo.sac import SAC

SPEC = make_spec(2)


def run(learner: SAC, updates: int) -> None:
    buffer = ReplayBuffer(SPEC, 50, CPU)
    buffer.add_block(random_block(SPEC, 40), [0, 1])
    learner.run(buffer, [0, 1], opt_steps=updates, batch_size=8)


def test_a_metric_is_the_mean_over_the_updates_that_measured_it() -> None:
    learner = make_sac(SPEC, policy_delay=3)
    seen: list[dict[str, Tensor]] = []
    update = learner._update

    def record(*args: Any) -> dict[str, Tensor]:
        seen.append(update(*args))
        return seen[-1]

    learner._update = record
    run(learner, 7)
    logged = learner.flush()
    delayed = ("actor_loss", "entropy", "actor_grad_norm")
    for name in SAC.METRICS:
        values = [metrics[name] for metrics in seen if name in metrics]
        assert len(values) == (2 if name in delayed else 7), name
        assert logged[f"train/{name}"] == pytest.approx(torch.stack(values).mean().item(), rel=1e-5)
    run(learner, 1)
    assert not {f"train/{name}" for name in delayed} & learner.flush().keys()


def test_a_graph_belongs_to_the_moments_that_exist_when_it_is_captured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Adam creates its moments in its first step; that of the policy may come late."""
    learner = make_sac(SPEC, policy_delay=5)
    keys: list[Any] = []
    stepper = learner._stepper

    def step(key: Any, call: Any) -> None:
        keys.append(key)
        stepper(key, call)

    monkeypatch.setattr(learner, "_stepper", step)
    run(learner, 9)
    before, after = {keys[1], keys[2], keys[3]}, {keys[6], keys[7], keys[8]}
    assert len(before) == len(after) == 1 and before != after


def test_a_learned_temperature_starts_at_initial_alpha() -> None:
    learner = make_sac(SPEC, initial_alpha=3.0)
    task = torch.tensor([1, 0])
    torch.testing.assert_close(learner.temperature(task), torch.full((2, 1), 3.0))
    assert learner.log_alpha.requires_grad
    assert torch.equal(make_sac(SPEC).log_alpha, torch.zeros(2))
