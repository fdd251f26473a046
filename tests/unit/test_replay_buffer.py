"""The replay buffer has the newest transitions of each task; those from before a task was retired
count less."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from helpers import CPU, make_spec, random_block, through_a_file
from scipy.stats import chisquare
from torch import Tensor

from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.types import Block

SPEC = make_spec(3, obs_dim=4, act_dim=2)


def as_rows(obs: Tensor, act: Tensor, rew: Tensor, next_obs: Tensor, cont: Tensor) -> Tensor:
    return torch.cat((obs, act, rew[..., None], next_obs, cont[..., None]), -1)


def stored(buffer: ReplayBuffer, task: int) -> list[list[float]]:
    """Every transition that can be sampled for a task."""
    size = int(buffer.size[task])
    pick = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    obs, act, rew, next_obs, cont, _ = buffer.sample(pick[None], torch.tensor([task]), discount=1.0)
    return as_rows(obs, act, rew, next_obs, cont)[0].tolist()


def uniform(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def numbered_block(first: int, frames: int) -> Block:
    """Rewards count up over time, from 1000 t for task t."""
    rew = first + torch.arange(frames).float() + 1000.0 * torch.arange(3)[:, None]
    return random_block(SPEC, frames)._replace(rew=rew[..., None])


def rewards_at(buffer: ReplayBuffer, picks: Tensor) -> list[int]:
    """Of the first task."""
    return buffer.sample(picks[None], torch.tensor([0]), discount=1.0).rew[0].long().tolist()


def copy_into(target: ReplayBuffer, source: ReplayBuffer) -> None:
    """Like a checkpoint: the state through a file, the rows by index."""
    target.load_state_dict(through_a_file(source.state_dict()))
    for task, end in enumerate(source.written):
        start = max(0, end - source.capacity)
        target.restore(task, start, source.rows(task, start).clone())


@pytest.mark.parametrize("frames", [1, 3, 10], ids=lambda n: f"blocks of {n} frames")
def test_a_task_has_its_newest_transitions_at_every_fill_level(frames: int) -> None:
    """With different amounts per task, and after the block itself is overwritten."""
    buffer = ReplayBuffer(SPEC, 10, CPU)
    added: list[list[list[float]]] = [[], [], []]
    for epoch in range(12):
        block, tasks = random_block(SPEC, frames, seed=epoch), [0, 1, 2] if epoch % 3 else [2]
        buffer.add_block(block, tasks)
        rows = as_rows(*block[:-1])[:, :, 0].tolist()
        for field in block:
            field.zero_()
        for task in tasks:
            added[task] += rows[task]
            assert sorted(stored(buffer, task)) == sorted(added[task][-10:])


@pytest.mark.parametrize(
    ("frames", "copies", "message"),
    [(3, 2, r"6 transitions per task.*holds 5"), (1, 3, "3 copies, not 2")],
)
def test_a_block_that_does_not_fit_is_rejected(frames: int, copies: int, message: str) -> None:
    buffer = ReplayBuffer(SPEC, 5, CPU, copies=2)
    with pytest.raises(ValueError, match=message):
        buffer.add_block(random_block(SPEC, frames, copies), [0])
    assert buffer.size.tolist() == [0, 0, 0]


def test_picks_of_zero_and_one_select_the_first_and_last_slot() -> None:
    buffer = ReplayBuffer(SPEC, 1000, CPU)
    buffer.add_block(numbered_block(0, frames=7), [0])
    pick = torch.tensor([0.0, 1 - 2.0**-53, 1.0], dtype=torch.float64)
    assert rewards_at(buffer, pick) == [0, 6, 6]


def test_every_one_of_twenty_million_slots_can_be_picked() -> None:
    """In float32, a pick would miss slots: it has only 2^24 evenly spaced values in [0, 1)."""
    size = 20_000_000
    buffer = ReplayBuffer(make_spec(obs_dim=1, act_dim=1), size, torch.device("meta"))
    buffer.data = torch.arange(size, dtype=torch.float64)[None, :, None].expand(1, size, 6)
    buffer.size, buffer.reward_scale = torch.tensor([size]), torch.ones(1)
    wanted = torch.arange(size - 6, size)
    pick = (wanted.double() + 0.5) / size
    batch = buffer.sample(pick[None], torch.tensor([0]), discount=1.0)
    assert batch.obs[0, :, 0].tolist() == wanted.tolist()


def test_rewards_are_stored_raw_and_scaled_when_sampled() -> None:
    buffer = ReplayBuffer(SPEC, 20, CPU)
    buffer.reward_scale.copy_(torch.tensor([0.5, 7.0, 3.0]))
    block = random_block(SPEC, 20)
    buffer.add_block(block, [0, 1, 2])
    assert torch.equal(buffer.data[..., -3], block.rew[..., 0])
    pick, task = uniform(2, 50), torch.tensor([2, 0])
    scaled = buffer.sample(pick, task, discount=0.9)
    buffer.reward_scale.fill_(1)
    raw = buffer.sample(pick, task, discount=0.9)
    expected = raw._replace(rew=raw.rew * torch.tensor([[3.0], [0.5]]))
    torch.testing.assert_close(scaled, expected)


@pytest.mark.parametrize("epochs", [0, 1, 7])
def test_a_restored_buffer_continues_like_the_original(epochs: int) -> None:
    """Before and after wrap-around, and with different amounts per task."""
    buffer, restored = ReplayBuffer(SPEC, 10, CPU), ReplayBuffer(SPEC, 10, CPU)
    restored.add_block(random_block(SPEC, 9, seed=99), [0, 1, 2])  # must be discarded
    for epoch in range(epochs):
        buffer.add_block(random_block(SPEC, 3, seed=epoch), [0, 1, 2] if epoch % 2 else [0, 2])
    buffer.reward_scale.copy_(torch.tensor([0.5, 7.0, 3.0]))
    copy_into(restored, buffer)
    assert torch.equal(restored.size, buffer.size)
    for epoch in range(5):
        for one in (buffer, restored):
            one.add_block(random_block(SPEC, 3, seed=100 + epoch), [0, 1])
        tasks = torch.tensor([0, 1] if epochs == 0 else [0, 1, 2])
        pick = uniform(len(tasks), 500, seed=epoch)
        for n_step in (1, 3):
            mine, theirs = (
                one.sample(pick, tasks, discount=0.9, n_step=n_step) for one in (restored, buffer)
            )
            assert all(map(torch.equal, mine, theirs))


@pytest.mark.parametrize("start", [-1, 13, 25])
def test_reading_missing_rows_is_rejected(start: int) -> None:
    buffer = ReplayBuffer(SPEC, 10, CPU)
    for first in (0, 8, 16):
        buffer.add_block(numbered_block(first, frames=8), [0])
    with pytest.raises(ValueError, match=f"transition {start} of task 0"):
        buffer.rows(0, start)


# --- retired tasks --------------------------------------------------------------------------------


def buffer_with(weight: float, events: Sequence[int | str]) -> ReplayBuffer:
    """An int adds a block of that many frames; ``leaves`` retires task 0, which makes its data old.
    Task 1 gets every block and is never retired."""
    buffer, written = ReplayBuffer(SPEC, 10, CPU, old_weight=weight), 0
    for event in events:
        if isinstance(event, str):
            buffer.retire([0])
        else:
            buffer.add_block(numbered_block(written, event), [0, 1])
            written += event
    return buffer


EDGES = torch.tensor([0.0, 1 - 2.0**-53], dtype=torch.float64)
# Events, then the rewards of the old and of the new transitions.
SCENARIOS: dict[str, tuple[list[int | str], list[int], list[int]]] = {
    "retired, no new data": ([4, "leaves"], [0, 1, 2, 3], []),
    "returned": ([4, "leaves", 3], [0, 1, 2, 3], [4, 5, 6]),
    "some old data overwritten": ([4, "leaves", 6, 3], [3], [4, 5, 6, 7, 8, 9, 10, 11, 12]),
    "all old data overwritten": ([4, "leaves", 6, 6], [], list(range(6, 16))),
    "retired after wrap-around": ([9, 6, "leaves", 2], list(range(7, 15)), [15, 16]),
    "retired twice": ([3, "leaves", 3, "leaves", 2], [0, 1, 2, 3, 4, 5], [6, 7]),
}


CASES = [(name, weight) for name in SCENARIOS for weight in (0.0, 0.25, 1 / 3)]
CASES.remove(("retired, no new data", 0.0))  # nothing to sample


@pytest.mark.parametrize(("name", "weight"), CASES)
def test_old_transitions_are_sampled_with_their_weight(name: str, weight: float) -> None:
    events, old, new = SCENARIOS[name]
    shares = dict.fromkeys(old if weight else [], weight) | dict.fromkeys(new, 1.0)

    first, last, *drawn = rewards_at(buffer_with(weight, events), torch.cat([EDGES, uniform(4000)]))

    assert (first, last) == (min(shares), max(shares))  # the oldest and the newest
    assert set(drawn) <= set(shares)
    expected = np.array([*shares.values()]) / sum(shares.values()) * len(drawn)
    assert chisquare([drawn.count(rew) for rew in shares], expected).pvalue > 1e-4


@pytest.mark.parametrize("name", SCENARIOS)
def test_retiring_with_weight_one_changes_nothing(name: str) -> None:
    events = [event for event in SCENARIOS[name][0] if event != "leaves"]
    retired = buffer_with(1.0, SCENARIOS[name][0])
    picks = torch.cat([EDGES, uniform(200)])
    assert rewards_at(retired, picks) == rewards_at(buffer_with(1.0, events), picks)


@pytest.mark.parametrize(("weight", "holds"), [(0.0, False), (0.25, True), (1.0, True)])
def test_a_retired_task_holds_data_unless_its_weight_is_zero(weight: float, holds: bool) -> None:
    retired = buffer_with(weight, [4, "leaves"])
    assert [retired.holds(task) for task in (0, 1)] == [holds, True]
    assert buffer_with(weight, [4, "leaves", 1]).holds(0)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_checkpoint_preserves_which_data_is_old(name: str, weight: float) -> None:
    buffer, loaded = buffer_with(weight, SCENARIOS[name][0]), buffer_with(weight, [])
    copy_into(loaded, buffer)
    for later in (buffer, loaded):
        later.add_block(numbered_block(500, 3), [0])
    assert rewards_at(loaded, uniform(300)) == rewards_at(buffer, uniform(300))


def test_a_captured_graph_keeps_reading_the_same_tensors() -> None:
    buffer = buffer_with(0.5, [4])
    names = ("data", "size", "reward_scale", "_old", "_oldest")
    addresses = [getattr(buffer, name).data_ptr() for name in names]
    buffer.retire([0])
    buffer.add_block(numbered_block(4, 9), [0])
    copy_into(buffer, buffer)
    assert [getattr(buffer, name).data_ptr() for name in names] == addresses


def test_of_too_many_rows_the_newest_are_kept() -> None:
    buffer = ReplayBuffer(make_spec(), 3, CPU)
    buffer.add_rows(0, torch.arange(5.0)[:, None].expand(5, buffer.data.shape[-1]))
    assert buffer.rows(0, 2)[:, 0].tolist() == [4.0]
    assert buffer.rows(0, 0)[:, 0].tolist() == [2.0, 3.0, 4.0]
