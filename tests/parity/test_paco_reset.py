"""PaCo's reset of tasks whose loss explodes."""

from math import isfinite
from typing import Any

import pytest
import torch
from helpers import (
    CPU,
    make_learner,
    make_spec,
    random_batch,
    random_block,
    random_noise,
    through_a_file,
)
from torch import Tensor

from torchrl_lite.algo.gradients import METHODS
from torchrl_lite.algo.replay_buffer import ReplayBuffer


def paco(algo: str = "sac", *, reset_loss: float | None = 1e5, **more: Any) -> Any:
    """A learner of three tasks that has drawn the random numbers of a reset."""
    net = {"paco": {"num_sets": 4, "reset_loss": reset_loss}}
    learner = make_learner(algo, make_spec(3), kind="paco", net=net, **more)
    learner._paco_reset.draw(learner._generator)
    return learner


def update_critic(learner: Any, *exploding: int, tasks: tuple[int, ...] = (0, 1, 2)) -> Any:
    """The loss of ``exploding`` tasks is about 1e10, that of the others 100."""
    batch = random_batch(learner.spec, tasks=tasks, dtype=torch.float32)
    scale = torch.tensor([[1e4 if task in exploding else 1.0] for task in tasks])
    return learner.update_critic(batch._replace(rew=batch.rew * scale), random_noise(batch).act[0])


def w_of(learner: Any) -> dict[str, Tensor]:
    """``w`` of every network, ``[E, T, K]``."""
    state = learner.state_dict()
    return {name: state[name].clone() for name in state if name.endswith(".w")}


def moments(learner: Any, name: str) -> Tensor:
    """Both of Adam's moments of a network's ``w``, ``[2, E, T, K]``."""
    w = dict(learner.named_parameters())[f"{name}.body.w"]
    state = learner.optimizers[name].state[w]
    return torch.stack((state["exp_avg"], state["exp_avg_sq"]))


def differences(one: Any, other: Any) -> list[str]:
    state = other.state_dict()
    return [name for name, value in one.state_dict().items() if not torch.equal(value, state[name])]


@pytest.mark.parametrize(("algo", "networks"), [("sac", 3), ("td3", 4)])
def test_a_reset_mixes_the_other_tasks_in_every_network(algo: str, networks: int) -> None:
    learner = paco(algo)
    update_critic(learner, 1)
    found = w_of(learner)
    assert len(found) == networks
    first, reset, last = next(iter(found.values()))[0]
    share = ((reset - last) @ (first - last)) / (first - last).square().sum()
    assert 0.01 < share < 0.49 or 0.51 < share < 0.99  # random, not the mean
    for w in found.values():
        torch.testing.assert_close(w[:, 1], share * w[:, 0] + (1 - share) * w[:, 2])


def test_the_other_tasks_learn_as_if_its_loss_were_zero() -> None:
    learner, plain = paco(), paco(reset_loss=None)
    update_critic(learner, 1)
    batch = random_batch(plain.spec, dtype=torch.float32)
    plain.update_critic(batch, random_noise(batch).act[0], weight=torch.tensor([1.0, 0.0, 1.0]))
    moved = differences(learner, plain)
    assert set(moved) == set(w_of(plain))
    for name, w in w_of(learner).items():
        assert torch.equal(w[:, [0, 2]], w_of(plain)[name][:, [0, 2]])


def test_a_reset_clears_the_moments_of_adam() -> None:
    learner = paco()
    for _ in range(2):
        update_critic(learner)
    assert (moments(learner, "critic") != 0).all()
    update_critic(learner, 1)
    found = moments(learner, "critic")
    assert (found[:, :, 1] == 0).all() and (found[:, :, [0, 2]] != 0).all()


@pytest.mark.parametrize(
    ("exploding", "tasks", "frozen"),
    [
        ((), (0, 1, 2), False),
        ((0, 1, 2), (0, 1, 2), False),
        ((1,), (1,), False),
        ((0, 2), (2, 0), False),
        ((1,), (0, 1, 2), True),
    ],
    ids=["none explodes", "all explode", "the only active one explodes",
         "all active ones explode", "the policy is frozen"],
)  # fmt: skip
def test_no_task_is_reset_if(
    exploding: tuple[int, ...], tasks: tuple[int, ...], frozen: bool
) -> None:
    learner, plain = paco(), paco(reset_loss=None)
    for one in (learner, plain):
        one._frozen = frozen
        update_critic(one, *exploding, tasks=tasks)
    assert differences(learner, plain) == []
    assert not learner._paco_reset.measured()["reset"].any()


def test_only_active_tasks_are_mixed_or_reset() -> None:
    learner = paco()
    before = w_of(learner)
    update_critic(learner, 2, tasks=(0, 2))
    for name, w in w_of(learner).items():
        assert torch.equal(w[:, 2], w[:, 0])
        assert torch.equal(w[:, 1], before[name][:, 1])


# --- in training ----------------------------------------------------------------------------------


def run(learner: Any, updates: int) -> Any:
    buffer = ReplayBuffer(learner.spec, 100, CPU)
    block = random_block(learner.spec, 60)
    scale = torch.tensor([1.0, 1e4, 1.0])[:, None, None]
    buffer.add_block(block._replace(rew=block.rew * scale), range(3))
    learner.run(buffer, [0, 1, 2], opt_steps=updates, batch_size=8)
    return learner


@pytest.mark.parametrize("gradients", ["mean", *METHODS])
def test_the_log_has_the_share_of_updates_with_a_reset(gradients: str) -> None:
    logged = run(paco(gradients=gradients), 4).flush()
    assert [logged[f"train_reset/task{index}"] for index in range(3)] == [0, 1, 0]
    assert logged["train/reset"] == pytest.approx(1 / 3)
    assert all(map(isfinite, logged.values()))
    assert "train/reset" not in run(paco(reset_loss=None), 1).flush()


def test_a_restored_learner_continues_bit_identically() -> None:
    learner, restored = run(paco(), 5), run(paco(seed=1), 2)  # with a history of its own
    restored.load_training_state(through_a_file(learner.training_state()))
    run(learner, 5), run(restored, 5)
    assert differences(learner, restored) == []
