"""Tasks of different shapes: the padding of a smaller task has no effect."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from helpers import (
    FULL,
    make_learner,
    make_spec,
    padded_spec,
    random_batch,
    random_noise,
    record_gradients,
)
from torch import Tensor

from torchrl_lite.algo.learner import Learner
from torchrl_lite.types import Batch, Noise


def train(algo: str, kind: str, padding: Sequence[float], **config: Any) -> dict[str, Tensor]:
    """Five updates on a large task and a small one, whose padding contains ``padding``."""
    spec = padded_spec([6, 3], [4, 1])
    learner = make_learner(algo, spec, kind=kind, dtype=torch.float64, **config)
    results: dict[str, Tensor] = {}
    for step in range(5):
        batch = random_batch(spec, seed=step)
        noise = random_noise(batch, seed=step)
        in_obs, in_act = padding
        for values in (batch.obs, batch.next_obs):
            values[1, :, 3:] = in_obs
        batch.act[1, :, 1:] = in_act
        noise.act[:, 1, :, 1:] = in_act
        metrics = learner.update(batch, noise, learner.variant(step))
        results |= {f"{step} {name}": value for name, value in metrics.items()}
    return results | learner.state_dict()


@pytest.mark.parametrize(
    ("algo", "kind", "config"),
    [
        ("sac", "mlp", {}),
        ("sac", "multihead", {"policy": "deterministic"}),
        *(("sac", kind, {}) for kind in ("soft_module", "paco", "moore", "film", "care")),
        ("td3", "mlp", {"policy_delay": 1}),
    ],
)
def test_padding_has_no_effect(algo: str, kind: str, config: dict[str, Any]) -> None:
    clean = train(algo, kind, (0.0, 0.0), **config)
    dirty = train(algo, kind, (123.0, -0.7), **config)
    for name, value in clean.items():
        assert torch.equal(value, dirty[name]), name


@pytest.mark.parametrize("order", [[1, 0], [1]], ids=str)
def test_each_tasks_target_entropy_is_minus_its_own_action_dimensions(order: list[int]) -> None:
    """The gradient of log alpha is the entropy's excess over its target, averaged over tasks."""
    learner = make_learner("sac", padded_spec([6, 3], [4, 1]), dtype=torch.float64)
    seen = record_gradients(learner)
    batch = random_batch(learner.spec, tasks=order)
    entropy = learner.update(batch, random_noise(batch), FULL)["entropy"]
    for place, task in enumerate(order):
        excess = entropy[place].item() + [4, 1][task]
        assert len(order) * seen["alpha"][0][task].item() == pytest.approx(excess, rel=1e-9)


@pytest.mark.parametrize("algo", ["sac", "td3", "ddpg"])
def test_a_padded_task_learns_as_if_alone(algo: str) -> None:
    """The smaller of two independent agents' tasks, against a learner of only that task."""
    both = make_learner(algo, padded_spec([6, 3], [4, 1]), kind="independent", dtype=torch.float64)
    alone = make_learner(algo, make_spec(obs_dim=3, act_dim=1), dtype=torch.float64)
    own = small_rows(both)
    alone.load_state_dict(own)
    for step in range(4):
        batch = random_batch(both.spec, seed=step)
        noise = random_noise(batch, seed=step)
        both.update(batch, noise, both.variant(step))
        one = Batch(
            batch.obs[1:, :, :3], batch.act[1:, :, :1], batch.rew[1:],
            batch.next_obs[1:, :, :3], batch.discount[1:], torch.tensor([0]),
        )  # fmt: skip
        alone.update(one, Noise(noise.pick[1:], noise.act[:, 1:, :, :1]), alone.variant(step))
    for name, value in small_rows(both).items():
        torch.testing.assert_close(value, alone.state_dict()[name], rtol=0, atol=1e-10)


def small_rows(learner: Learner) -> dict[str, Tensor]:
    """The second task's parameters, without those of its padding."""
    rows: dict[str, Tensor] = {}
    for name, value in learner.state_dict().items():
        part = value[None, 1:] if value.ndim == 1 else value[:, 1:]
        if name.endswith("layers.0.weight"):
            keep = [0, 1, 2] if "actor" in name else [0, 1, 2, 6]
            part = part[:, :, keep]
        if "actor.body.head" in name:
            heads = part.shape[-1] // 4
            part = part[..., [4 * head for head in range(heads)]]
        rows[name] = part[0] if value.ndim == 1 else part
    return rows


@pytest.mark.parametrize("policy", ["gaussian", "deterministic"])
def test_padded_actions_are_zero_even_where_all_observations_are_of_one_size(policy: str) -> None:
    learner = make_learner("sac", padded_spec([3, 3], [4, 1]), policy=policy)
    batch = random_batch(learner.spec, dtype=torch.float32)
    act, _ = learner.actor.sample(batch.obs, batch.task, torch.ones_like(batch.act))
    assert (act[1, :, 1:] == 0).all() and (act[0] != 0).all()
