"""The update loop, its metrics and its saved state."""

from typing import Any

import pytest
import torch
from helpers import CPU, filled_buffer, make_sac, make_spec, random_block, run_updates
from tiny_runs import assert_same_bits
from torch import Tensor

from torchrl_lite.algo.agent_config import AgentConfig
from torchrl_lite.algo.learner import Learner
from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.config import NetConfig
from torchrl_lite.types import Batch, Noise, Spec


class Counting(Learner):
    """Reports the number of each update, and in every second one that number times 10**task."""

    METRICS = ("number", "size")

    def __init__(self, spec: Spec) -> None:
        config = AgentConfig(discount=0.75)
        super().__init__(config, NetConfig(), spec, device=CPU, seed=0)
        self.batches: list[Batch] = []
        self.noises: list[Noise] = []
        self.variants: list[str] = []

    def build(self, net: NetConfig) -> None:
        """Nothing to train."""

    def trained(self) -> dict[str, Any]:
        return {}

    def variant(self, step: int) -> str:
        return "even" if step % 2 == 0 else "odd"

    def update(self, batch: Batch, noise: Noise, variant: str) -> dict[str, Tensor]:
        self.batches.append(batch)
        self.noises.append(Noise(noise.pick.clone(), noise.act.clone()))
        self.variants.append(variant)
        number = torch.full((len(batch.task),), float(len(self.batches)))
        size = {"size": number * 10**batch.task} if variant == "even" else {}
        return {"number": number} | size


def test_the_same_seed_gives_the_same_weights() -> None:
    """And updates do not use the global generator."""
    learners = [make_sac(make_spec(3)) for _ in range(2)]
    before = torch.get_rng_state()
    for learner in learners:
        run_updates(learner, 5)
    assert torch.equal(torch.get_rng_state(), before)
    assert_same_bits(*(learner.state_dict() for learner in learners))


def test_another_seed_gives_different_updates_of_the_same_weights() -> None:
    one, other = (make_sac(make_spec(), seed=seed) for seed in (0, 1))
    other.load_state_dict(one.state_dict())
    for learner in (one, other):
        run_updates(learner, 1)
    assert not torch.equal(one.critic.body.head.weight, other.critic.body.head.weight)


def test_updates_and_initial_weights_use_different_random_streams() -> None:
    """Initial weights come from torch's global generator, with the same seed."""
    learner = Counting(make_spec())
    run_updates(learner, 1)
    torch.manual_seed(0)
    assert not torch.equal(learner.noises[0].pick, torch.rand(1, 8, dtype=torch.float64))


def test_picks_are_uniform_and_action_noise_is_standard_normal() -> None:
    """Independently for both actions of an update and for every task."""
    learner = Counting(make_spec(2))
    learner.run(filled_buffer(learner.spec), [0, 1], opt_steps=1, batch_size=20_000)
    (noise,) = learner.noises
    assert noise.pick.dtype == torch.float64
    assert noise.act.shape == (2, 2, 20_000, 2)
    assert abs(torch.corrcoef(noise.pick)[0, 1]) < 0.05
    others = torch.corrcoef(noise.act.transpose(2, 3).flatten(0, 2)) - torch.eye(8)
    assert others.abs().max() < 0.05
    assert noise.pick.min() >= 0
    assert noise.pick.max() < 1
    assert noise.pick.mean().item() == pytest.approx(0.5, abs=0.01)
    assert noise.pick.var().item() == pytest.approx(1 / 12, abs=0.002)
    assert noise.act.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.act.var().item() == pytest.approx(1, abs=0.03)


def test_the_update_variant_follows_the_total_number_of_updates() -> None:
    learner = Counting(make_spec())
    run_updates(learner, 3)
    run_updates(learner, 2)
    assert learner.variants == ["even", "odd", "even", "odd", "even"]
    assert learner.updates == 5


def test_a_metric_is_the_mean_over_the_tasks_and_updates_that_measured_it() -> None:
    learner = Counting(make_spec(3))
    run_updates(learner, 2, tasks=[2, 0])
    assert learner.flush() == {
        "train/number": 1.5,
        "train_number/task0": 1.5,
        "train_number/task2": 1.5,
        "train/size": 50.5,
        "train_size/task0": 1.0,
        "train_size/task2": 100.0,
    }


def test_flush_resets_the_metrics() -> None:
    """With a single task, there are no per-task metrics."""
    learner = Counting(make_spec())
    run_updates(learner, 4)
    assert learner.flush() == {"train/number": 2.5, "train/size": 2.0}
    assert learner.flush() == {}
    run_updates(learner, 1)
    assert learner.flush() == {"train/number": 5.0, "train/size": 5.0}
    run_updates(learner, 1)
    assert learner.flush() == {"train/number": 6.0}


def test_a_learned_temperature_starts_at_initial_alpha() -> None:
    learner = make_sac(make_spec(2), initial_alpha=3.0)
    task = torch.tensor([1, 0])
    torch.testing.assert_close(learner.temperature(task), torch.full((2, 1), 3.0))
    assert learner.log_alpha.requires_grad
    assert torch.equal(make_sac(make_spec(2)).log_alpha, torch.zeros(2))


def test_a_task_without_transitions_is_rejected() -> None:
    """An empty ring buffer would return its neighbour's rows."""
    spec = make_spec(2)
    buffer = ReplayBuffer(spec, 10, CPU)
    buffer.add_block(random_block(spec, 4), [1])
    learner = make_sac(spec)
    with pytest.raises(ValueError, match="no transitions of task0"):
        learner.run(buffer, [0, 1], opt_steps=1, batch_size=4)
    learner.run(buffer, [1], opt_steps=1, batch_size=4)


def test_a_gradient_with_another_memory_layout_gives_the_right_step() -> None:
    """Adam's fused kernel ignores strides; its first step is -lr sign(gradient)."""
    learner = make_sac(make_spec())
    parameter = torch.nn.Parameter(torch.zeros(2, 3))
    learner.optimizers.add("other", [parameter], lr=1.0, eps=1e-12)
    sign = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    learner.step("other", (sign * parameter.T).sum()[None], torch.tensor([0]))
    torch.testing.assert_close(parameter.detach(), -sign.T)


def test_a_norm_over_all_tasks_has_one_column() -> None:
    learner = make_sac(make_spec(2))
    run_updates(learner, 1)
    norms = {name for name in learner.flush() if "grad_norm" in name}
    assert norms == {"train/critic_grad_norm", "train/actor_grad_norm"}
