"""The update loop, its metrics and its saved state."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from helpers import CPU, make_sac, make_spec, random_block
from torch import Tensor

from torchrl_lite.algo.agent_config import AgentConfig
from torchrl_lite.algo.learner import Learner
from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.algo.sac import SAC
from torchrl_lite.config import NetConfig
from torchrl_lite.types import Batch, Noise, Spec


def filled_buffer(spec: Spec) -> ReplayBuffer:
    buffer = ReplayBuffer(spec, 100, CPU)
    buffer.add_block(random_block(spec, 60), range(spec.num_tasks))
    return buffer


def trained(spec: Spec, *, updates: int = 5, seed: int = 0, **config: object) -> SAC:
    learner = make_sac(spec, seed=seed, **config)
    learner.run(filled_buffer(spec), range(spec.num_tasks), opt_steps=updates, batch_size=8)
    return learner


def assert_same_weights(one: SAC, other: SAC) -> None:
    mine, theirs = one.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert torch.equal(value, theirs[name]), name


class Counting(Learner):
    """Reports the number of the update, and that number times 10**task."""

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
        return {"size": number * 10**batch.task, "number": number}


def run_counting(learner: Counting, tasks: Sequence[int], steps: int) -> None:
    learner.run(filled_buffer(learner.spec), tasks, opt_steps=steps, batch_size=8)


def test_the_same_seed_gives_the_same_weights() -> None:
    """And updates do not use the global generator."""
    learner = make_sac(make_spec(3))
    before = torch.get_rng_state()
    learner.run(filled_buffer(learner.spec), range(3), opt_steps=5, batch_size=8)
    assert torch.equal(torch.get_rng_state(), before)
    assert_same_weights(learner, trained(make_spec(3)))


def test_another_seed_gives_different_updates_of_the_same_weights() -> None:
    spec, initial = make_spec(), make_sac(make_spec()).state_dict()
    learners = [make_sac(spec, seed=seed) for seed in (0, 1)]
    for learner in learners:
        learner.load_state_dict(initial)
        learner.run(filled_buffer(spec), [0], opt_steps=1, batch_size=8)
    weights = [learner.critic.body.head.weight for learner in learners]
    assert not torch.equal(*weights)


def test_updates_and_initial_weights_use_different_random_streams() -> None:
    """Initial weights come from torch's global generator, with the same seed."""
    learner = Counting(make_spec())
    run_counting(learner, [0], 1)
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
    run_counting(learner, [0], 3)
    run_counting(learner, [0], 2)
    assert learner.variants == ["even", "odd", "even", "odd", "even"]
    assert learner.updates == 5


def test_flush_leaves_out_tasks_without_an_update() -> None:
    learner = Counting(make_spec(3))
    run_counting(learner, [2, 0], 2)
    assert learner.flush() == {
        "train/number": 1.5,
        "train_number/task0": 1.5,
        "train_number/task2": 1.5,
        "train/size": 75.75,
        "train_size/task0": 1.5,
        "train_size/task2": 150.0,
    }


def test_flush_resets_the_metrics() -> None:
    """With a single task, there are no per-task metrics."""
    learner = Counting(make_spec())
    run_counting(learner, [0], 4)
    assert learner.flush() == {"train/number": 2.5, "train/size": 2.5}
    assert learner.flush() == {}
    run_counting(learner, [0], 1)
    assert learner.flush()["train/number"] == 5.0


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
