"""Transitions of one run's checkpoints are transferred to another run's buffer, row by row."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import CPU, error_of, make_spec, padded_spec, random_block
from torch import Tensor

from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.algo.reward_scale import DeviationScale, ReturnScale
from torchrl_lite.checkpoint.store import Store
from torchrl_lite.transfer.transitions import carry_over
from torchrl_lite.types import Spec

THREE = make_spec(3)._replace(tasks=("reach", "push", "pick"))


def write_run(
    folder: Path, spec: Spec, *, blocks: int, capacity: int = 100, copies: int = 1, **changes: Any
) -> list[Tensor]:
    """Writes a run that saved after every block of 10; returns the rows of each task as they should
    be transferred: none continues in the next."""
    buffer = ReplayBuffer(spec, capacity, CPU, copies=copies)
    store = Store(folder / "checkpoint", keep=2)
    config = {
        "env": {"tasks": list(spec.tasks), "num_envs": copies * spec.num_tasks},
        "replay_buffer": {"size": capacity * spec.num_tasks},
    }
    state = {"config": config, "frames": [0], "shapes": spec.shapes, "origin": []} | changes
    for epoch in range(1, blocks + 1):
        buffer.add_block(random_block(spec, 10, copies, seed=epoch), range(spec.num_tasks))
        store.save(epoch, state, buffer)
    rows = held(buffer)
    for own in rows:
        assert 0 < own[:, -1].sum() < len(own)  # linked as episodes until transferred
        own[:, -1] = 1
    return rows


def held(buffer: ReplayBuffer) -> list[Tensor]:
    """The rows of each task, oldest first."""
    return [
        buffer.rows(task, max(0, count - buffer.capacity))
        for task, count in enumerate(buffer.written)
    ]


def transferred(path: Path, spec: Spec, *, capacity: int = 100, **task_map: str) -> list[Tensor]:
    buffer = ReplayBuffer(spec, capacity, CPU)
    counts = carry_over(path, buffer, spec, task_map)[0]["transitions"]
    rows = held(buffer)
    assert {spec.tasks[task]: len(own) for task, own in enumerate(rows) if len(own)} == counts
    assert buffer.size.tolist() == [len(own) for own in rows]
    return rows


@pytest.mark.parametrize(("blocks", "capacity"), [(2, 100), (5, 12), (9, 25)])
def test_the_newest_transitions_arrive_in_order(blocks: int, capacity: int, tmp_path: Path) -> None:
    """Also from a ring buffer that wrapped around, whose files hold more than it does."""
    theirs = write_run(tmp_path, THREE, blocks=blocks, capacity=25)
    mine = transferred(tmp_path, THREE, capacity=capacity)
    for task in range(3):
        assert torch.equal(mine[task], theirs[task][-capacity:])


def test_any_checkpoint_of_a_run_can_be_a_source(tmp_path: Path) -> None:
    theirs = write_run(tmp_path, THREE, blocks=3)
    mine = transferred(tmp_path / "checkpoint" / "last_2.pt", THREE)
    assert torch.equal(mine[1], theirs[1][:20])


def test_tasks_are_matched_by_the_map_and_by_name(tmp_path: Path) -> None:
    theirs = write_run(tmp_path, THREE, blocks=2)
    spec = make_spec(4)._replace(tasks=("pick", "window", "door", "push"))
    mine = transferred(tmp_path, spec, window="push", push="reach")
    assert [len(rows) for rows in mine] == [20, 20, 0, 20]
    for here, there in ((0, 2), (1, 1), (3, 0)):
        assert torch.equal(mine[here], theirs[there])


def test_new_transitions_follow_the_transferred_ones(tmp_path: Path) -> None:
    theirs = write_run(tmp_path, THREE, blocks=2)
    buffer, block = ReplayBuffer(THREE, 25, CPU), random_block(THREE, 10, seed=9)
    carry_over(tmp_path, buffer, THREE, {})
    buffer.add_block(block, range(3))
    rows = held(buffer)[1]
    assert torch.equal(rows[:15], theirs[1][5:])
    assert torch.equal(rows[15:, -3], block.rew[1].flatten())
    assert torch.equal(rows[15:, -1], block.first[1].flatten())


@pytest.mark.parametrize("copies", [1, 3])
def test_a_reward_scale_is_rebuilt_from_transferred_rewards(copies: int, tmp_path: Path) -> None:
    """As if it had been the other run's."""
    write_run(tmp_path, THREE, blocks=3, copies=copies)
    spec = make_spec(2)._replace(tasks=("pick", "reach"))
    _, rewards = carry_over(tmp_path, ReplayBuffer(spec, 100, CPU), spec, {})
    for make in (partial(ReturnScale, discount=0.9, bound=5.0), DeviationScale):
        theirs, mine = make(3, copies), make(2, copies)
        for epoch in (1, 2, 3):
            factors = theirs.update(random_block(THREE, 10, copies, seed=epoch), [0, 1, 2])
        for task, seen in rewards.items():
            mine.recall(task, *seen)
        torch.testing.assert_close(mine.factors(), factors[[2, 0]])


def test_n_step_returns_do_not_cross_transferred_transitions(tmp_path: Path) -> None:
    """Their environments are in another order; rows added later are independent of them."""
    write_run(tmp_path, THREE, blocks=2)
    buffer = ReplayBuffer(THREE, 40, CPU, copies=2)
    carry_over(tmp_path, buffer, THREE, {})
    block = random_block(THREE, 5, 2, seed=9)
    block.first.zero_()
    block.first[:, 0] = 1
    block.cont.fill_(1)
    buffer.add_block(block, range(3))
    slots, task = (torch.arange(30).double() + 0.5) / 30, torch.tensor([1])

    one, five = (buffer.sample(slots[None], task, discount=0.5, n_step=n) for n in (1, 5))

    for name in ("obs", "rew", "next_obs", "discount"):
        assert torch.equal(getattr(one, name)[:, :20], getattr(five, name)[:, :20]), name
    assert five.discount[0, 20:].tolist() == [0.5**n for n in (5, 5, 4, 4, 3, 3, 2, 2, 1, 1)]
    assert torch.equal(five.next_obs[0, 20::2], block.next_obs[1, -1:, 0].expand(5, -1))


def test_padding_is_that_of_the_new_tasks(tmp_path: Path) -> None:
    """obs | act | next_obs | rew | cont | first, each with the features of the task."""
    large = padded_spec([6, 3], [2, 1])._replace(tasks=("ant", "pendulum"))
    small = make_spec(obs_dim=3, act_dim=1)._replace(tasks=("pendulum",))
    theirs = write_run(tmp_path / "large", large, blocks=1)[1]
    columns = [0, 1, 2, 6, 8, 9, 10, 14, 15, 16]
    assert torch.equal(transferred(tmp_path / "large", small)[0], theirs[:, columns])

    (theirs,) = write_run(tmp_path / "small", small, blocks=1)
    ant, pendulum = transferred(tmp_path / "small", large)
    assert len(ant) == 0 and torch.equal(pendulum[:, columns], theirs)
    assert pendulum.count_nonzero() == theirs.count_nonzero()


def test_transitions_of_other_sizes_are_rejected(tmp_path: Path) -> None:
    """Also those of an earlier version, which did not store its shapes."""
    other = make_spec(obs_dim=6)._replace(tasks=("push",))
    write_run(tmp_path / "new", THREE, blocks=1)
    message = error_of(transferred, tmp_path / "new", other)
    assert "transfer.load: buffer: push of" in message
    assert "has 5 observation features and 2 action dimensions, push has 6 and 2" in message
    theirs = write_run(tmp_path / "old", THREE, blocks=1, shapes={})
    assert torch.equal(transferred(tmp_path / "old", THREE)[2], theirs[2])
    assert "differ in shape" in error_of(transferred, tmp_path / "old", other)


def test_a_path_without_transitions_is_rejected(tmp_path: Path) -> None:
    message = error_of(transferred, tmp_path / "best.pt", THREE)
    assert f"transfer.load: buffer: {tmp_path / 'best.pt'}: holds no complete checkpoint" in message
    write_run(tmp_path, THREE, blocks=1)
    message = error_of(transferred, tmp_path, make_spec(2)._replace(tasks=("door", "window")))
    assert "none of its tasks is in this run" in message
    write_run(tmp_path / "foreign", THREE, blocks=1, config={})
    assert "not written by a run" in error_of(transferred, tmp_path / "foreign", THREE)


def test_the_source_run_is_not_changed(tmp_path: Path) -> None:
    """Including what a process writing there has not finished, or will remove."""
    write_run(tmp_path, THREE, blocks=4)
    folder = tmp_path / "checkpoint"
    for name in (".last_5.pt.abc.tmp", "last_1.rows", "last_5.pt"):
        (folder / name).write_bytes(b"x")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    transferred(tmp_path, THREE)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_damaged_checkpoint_falls_back_to_the_previous_one(tmp_path: Path) -> None:
    theirs = write_run(tmp_path, THREE, blocks=3)
    (tmp_path / "checkpoint" / "last_3.pt").write_bytes(b"x")
    assert torch.equal(transferred(tmp_path, THREE)[0], theirs[0][:20])
    (tmp_path / "checkpoint" / "last_2.pt").write_bytes(b"x")
    assert "no valid checkpoint" in error_of(transferred, tmp_path, THREE)
