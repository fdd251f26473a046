"""The update loop, its metrics and its saved state."""

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch
from helpers import CPU, FULL, make_sac, make_spec, random_batch, random_block, random_noise
from helpers import through_a_file as saved
from torch import Tensor

from torchrl_lite.algo.learner import Learner
from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.algo.sac import SAC
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
    """Reports the number of the update, and that number times ten to the task's power."""

    METRICS = ("number", "size")

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec, device=CPU, seed=0, accel="eager")
        self.config = SimpleNamespace(discount=0.75)
        self.batches: list[Batch] = []
        self.noises: list[Noise] = []
        self.variants: list[str] = []

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


# --- reproducibility ------------------------------------------------------------------------------


@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("policy", ["gaussian", "deterministic"])
def test_the_same_seed_gives_the_same_weights(tasks: int, policy: str) -> None:
    spec = make_spec(tasks)
    assert_same_weights(trained(spec, policy=policy), trained(spec, policy=policy))


def test_another_seed_gives_other_updates_of_the_same_initial_weights() -> None:
    spec, initial = make_spec(), make_sac(make_spec()).state_dict()
    learners = [make_sac(spec, seed=seed) for seed in (0, 1)]
    for learner in learners:
        learner.load_state_dict(initial)
        learner.run(filled_buffer(spec), [0], opt_steps=1, batch_size=8)
    weights = [learner.critic.body.head.weight for learner in learners]
    assert not torch.equal(*weights)


def test_updates_draw_nothing_from_the_global_generator() -> None:
    learner = make_sac(make_spec())
    torch.manual_seed(5)
    learner.run(filled_buffer(learner.spec), [0], opt_steps=3, batch_size=8)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))


@pytest.mark.parametrize("tasks", [1, 2])
@pytest.mark.parametrize(
    "config",
    [{}, {"alpha": 0.2}, {"policy": "deterministic"}, {"target_update_interval": 4, "tau": 1.0}],
    ids=str,
)
def test_a_saved_learner_goes_on_to_the_last_bit(tasks: int, config: dict[str, object]) -> None:
    spec = make_spec(tasks)
    learner = trained(spec, **config)
    restored = trained(spec, updates=2, seed=1, **config)  # with a past of its own
    restored.load_training_state(saved(learner.training_state()))
    learner.flush(), restored.flush()

    buffer = filled_buffer(spec)
    for one in (learner, restored):
        one.run(buffer, range(tasks), opt_steps=5, batch_size=8)
    assert_same_weights(restored, learner)
    assert restored.flush() == learner.flush()
    assert restored.updates == learner.updates == 10


def test_one_long_run_is_two_short_ones() -> None:
    spec = make_spec(2)
    learner = make_sac(spec)
    for _ in range(2):
        learner.run(filled_buffer(spec), [0, 1], opt_steps=3, batch_size=8)
    assert_same_weights(learner, trained(spec, updates=6))


# --- the loop -------------------------------------------------------------------------------------


def test_every_update_has_fresh_noise() -> None:
    learner = Counting(make_spec(2))
    run_counting(learner, [0, 1], 3)
    first, second, third = learner.noises
    for one, other in ((first, second), (second, third), (first, third)):
        assert not (one.pick == other.pick).any()
        assert not (one.act == other.act).any()


def test_the_noise_of_the_two_actions_and_of_the_tasks_differs() -> None:
    learner = Counting(make_spec(2))
    run_counting(learner, [0, 1], 1)
    (noise,) = learner.noises
    assert noise.act.shape == (2, 2, 8, 2)
    assert noise.act.unique().numel() == noise.act.numel()
    assert noise.pick.unique().numel() == noise.pick.numel()


def test_transitions_are_picked_in_double_precision() -> None:
    learner = Counting(make_spec())
    run_counting(learner, [0], 1)
    assert learner.noises[0].pick.dtype == torch.float64


def test_picks_are_uniform_and_action_noise_is_standard_normal() -> None:
    learner = Counting(make_spec())
    learner.run(filled_buffer(learner.spec), [0], opt_steps=1, batch_size=20_000)
    (noise,) = learner.noises
    assert noise.pick.min() >= 0
    assert noise.pick.max() < 1
    assert noise.pick.mean().item() == pytest.approx(0.5, abs=0.01)
    assert noise.pick.var().item() == pytest.approx(1 / 12, abs=0.002)
    assert noise.act.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.act.var().item() == pytest.approx(1, abs=0.03)


def test_a_batch_is_what_the_buffer_gives_for_the_picks() -> None:
    learner = Counting(make_spec(3))
    run_counting(learner, [2, 0], 1)
    task = torch.tensor([2, 0])
    expected = filled_buffer(learner.spec).sample(learner.noises[0].pick, task, discount=0.75)
    for mine, theirs in zip(learner.batches[0], expected, strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("n_step", [1, 2, 5])
def test_returns_span_the_steps_that_a_run_asks_for(n_step: int) -> None:
    learner, buffer = Counting(make_spec(3)), filled_buffer(make_spec(3))
    learner.run(buffer, [1, 2], opt_steps=2, batch_size=40, n_step=n_step)
    for batch, noise in zip(learner.batches, learner.noises, strict=True):
        expected = buffer.sample(noise.pick, torch.tensor([1, 2]), discount=0.75, n_step=n_step)
        assert torch.equal(batch.rew, expected.rew)
        assert torch.equal(batch.discount, expected.discount)


def test_the_kind_of_update_follows_the_number_of_all_updates_so_far() -> None:
    learner = Counting(make_spec())
    run_counting(learner, [0], 3)
    run_counting(learner, [0], 2)
    assert learner.variants == ["even", "odd", "even", "odd", "even"]
    assert learner.updates == 5


@pytest.mark.parametrize(("interval", "synced"), [(1, [0, 1, 2, 3, 4, 5]), (3, [2, 5])])
def test_targets_move_at_the_end_of_every_interval(interval: int, synced: list[int]) -> None:
    learner = make_sac(make_spec(), target_update_interval=interval)
    moved = []
    for step in range(6):
        before = [target.clone() for target in learner.target.parameters()]
        learner.run(filled_buffer(learner.spec), [0], opt_steps=1, batch_size=8)
        after = learner.target.parameters()
        if any(not torch.equal(*pair) for pair in zip(before, after, strict=True)):
            moved.append(step)
    assert moved == synced


# --- metrics --------------------------------------------------------------------------------------


def test_flush_gives_means_over_updates_for_each_task_and_over_all() -> None:
    learner = Counting(make_spec(2))
    run_counting(learner, [0, 1], 4)
    assert learner.flush() == {
        "train/number": 2.5,
        "train_number/task0": 2.5,
        "train_number/task1": 2.5,
        "train/size": 13.75,
        "train_size/task0": 2.5,
        "train_size/task1": 25.0,
    }


def test_flush_of_a_single_task_has_no_names_of_tasks() -> None:
    learner = Counting(make_spec())
    run_counting(learner, [0], 4)
    assert learner.flush() == {"train/number": 2.5, "train/size": 2.5}


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


def test_flush_forgets_what_it_gave() -> None:
    learner = Counting(make_spec())
    run_counting(learner, [0], 4)
    learner.flush()
    assert learner.flush() == {}
    run_counting(learner, [0], 1)
    assert learner.flush()["train/number"] == 5.0


def test_flush_before_the_first_update_is_empty() -> None:
    assert Counting(make_spec(2)).flush() == {}


@pytest.mark.parametrize("tasks", [1, 3])
def test_the_names_of_the_metrics_are_known_before_the_first_update(tasks: int) -> None:
    learner = trained(make_spec(tasks))
    assert list(learner.flush()) == learner.metric_names


def test_metrics_have_a_number_per_task_and_hold_no_graph() -> None:
    """Their sums over an epoch would else keep every update's intermediate results alive."""
    learner = make_sac(make_spec(2), dtype=torch.float64)
    batch = random_batch(learner.spec)
    metrics = learner.update(batch, random_noise(batch), FULL)
    assert metrics.keys() == set(SAC.METRICS)
    for value in metrics.values():
        assert value.shape == (2,)
        assert not value.requires_grad


@pytest.mark.parametrize("config", [{}, {"alpha": 0.0}, {"policy": "deterministic"}], ids=str)
def test_all_metrics_are_finite(config: dict[str, object]) -> None:
    metrics = trained(make_spec(2), **config).flush()
    assert all(torch.tensor(list(metrics.values())).isfinite())


# --- who moves whom -------------------------------------------------------------------------------


def test_the_actors_loss_leaves_weights_and_gradients_of_the_critics_untouched() -> None:
    learner = make_sac(make_spec(), dtype=torch.float64)
    batch = random_batch(learner.spec)
    before = [p.detach().clone() for p in learner.critic.parameters()]
    for parameter in learner.critic.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)

    act, _ = learner.actor.sample(batch.obs, batch.task, random_noise(batch).act[1])
    q = learner.critic.value(learner.critic(batch.obs, act, batch.task))
    learner.step("actor", -q.mean((0, 2)), batch.task)
    for parameter, old in zip(learner.critic.parameters(), before, strict=True):
        assert torch.equal(parameter, old)
        assert torch.equal(parameter.grad, torch.full_like(parameter, 7.0))


def test_a_step_follows_todays_loss_alone() -> None:
    """A gradient that was left behind does not add to it."""
    stepped = []
    for leftover in (None, 3.0):
        learner = make_sac(make_spec(), dtype=torch.float64)
        batch = random_batch(learner.spec)
        if leftover is not None:
            for parameter in learner.critic.parameters():
                parameter.grad = torch.full_like(parameter, leftover)
        q = learner.critic.value(learner.critic(batch.obs, batch.act, batch.task))
        learner.step("critic", q.mean((0, 2)), batch.task)
        stepped.append(learner)
    assert_same_weights(*stepped)


def test_a_fixed_temperature_never_moves() -> None:
    learner = trained(make_spec(2), alpha=0.2)
    torch.testing.assert_close(learner.log_alpha.exp(), torch.full((2,), 0.2))


def test_a_deterministic_policy_has_no_temperature() -> None:
    metrics = trained(make_spec(), policy="deterministic").flush()
    assert metrics["train/alpha"] == 0
    assert metrics["train/entropy"] == 0


def test_a_task_that_never_took_part_keeps_its_initial_rows() -> None:
    learner = make_sac(make_spec(3))
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    learner.run(filled_buffer(learner.spec), [0, 2], opt_steps=3, batch_size=8)
    after = learner.state_dict()
    for name in ("critic.body.trunk.layers.0.bias", "actor.body.trunk.layers.0.bias"):
        assert torch.equal(after[name][:, 1], before[name][:, 1])
        assert not torch.equal(after[name][:, 0], before[name][:, 0])
    assert after["log_alpha"][1] == before["log_alpha"][1]
    assert after["log_alpha"][0] != before["log_alpha"][0]


def test_a_task_without_transitions_is_refused() -> None:
    """An empty ring would hand out its neighbour's rows."""
    spec = make_spec(2)
    buffer = ReplayBuffer(spec, 10, CPU)
    buffer.add_block(random_block(spec, 4), [1])
    learner = make_sac(spec)
    with pytest.raises(ValueError, match="no transitions of task0"):
        learner.run(buffer, [0, 1], opt_steps=1, batch_size=4)
    learner.run(buffer, [1], opt_steps=1, batch_size=4)
