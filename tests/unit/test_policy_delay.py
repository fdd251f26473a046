"""SAC's policy and temperature, where they move less often than the critics."""

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


def parts(learner: SAC) -> dict[str, list[Tensor]]:
    """Parameters and moments of each optimiser, and the targets."""
    result = {
        name: [
            tensor.detach().clone()
            for parameter in optimizer.param_groups[0]["params"]
            for tensor in (parameter, *optimizer.state[parameter].values())
        ]
        for name, optimizer in learner.optimizers.items()
    }
    return result | {"target": [p.clone() for p in learner.target.parameters()]}


def moved(before: dict[str, list[Tensor]], after: dict[str, list[Tensor]]) -> set[str]:
    return {
        name
        for name, tensors in after.items()
        if len(tensors) != len(before[name]) or not all(map(torch.equal, tensors, before[name]))
    }


@pytest.mark.parametrize(
    ("delay", "interval", "kinds"),
    [
        (1, 1, ["critic+policy+target"] * 6),
        (
            2,
            3,
            [
                "critic",
                "critic+policy",
                "critic+target",
                "critic+policy",
                "critic",
                "critic+policy+target",
            ],
        ),
    ],
)
def test_what_is_not_due_does_not_move(delay: int, interval: int, kinds: list[str]) -> None:
    """To the last bit, moments included; the first updates of an epoch may be any."""
    learner = make_sac(SPEC, policy_delay=delay, target_update_interval=interval)
    assert [learner.variant(step) for step in range(6)] == kinds
    for kind in kinds:
        before = parts(learner)
        run(learner, 1)
        due = set(kind.replace("policy", "actor+alpha").split("+"))
        assert moved(before, parts(learner)) == due


def test_a_metric_is_the_mean_over_the_updates_that_measured_it() -> None:
    learner = make_sac(SPEC, policy_delay=3)
    seen: list[dict[str, Tensor]] = []
    update = learner._update

    def remember(*args: Any) -> dict[str, Tensor]:
        seen.append(update(*args))
        return seen[-1]

    learner._update = remember
    run(learner, 7)
    told = learner.flush()
    late = ("actor_loss", "entropy", "actor_grad_norm")
    for name in SAC.METRICS:
        values = [metrics[name] for metrics in seen if name in metrics]
        assert len(values) == (2 if name in late else 7), name
        assert told[f"train/{name}"] == pytest.approx(torch.stack(values).mean().item(), rel=1e-5)
    run(learner, 1)
    assert not {f"train/{name}" for name in late} & learner.flush().keys()


def test_a_learned_temperature_starts_where_it_is_told() -> None:
    learner = make_sac(SPEC, initial_alpha=3.0)
    task = torch.tensor([1, 0])
    torch.testing.assert_close(learner.temperature(task), torch.full((2, 1), 3.0))
    assert learner.log_alpha.requires_grad
    assert torch.equal(make_sac(SPEC).log_alpha, torch.zeros(2))
