"""The replay buffer behaves like ring buffers made of Python lists."""

from collections.abc import Sequence

import pytest
import torch
from helpers import CPU, make_spec, random_block, through_a_file
from torch import Tensor

from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.types import Batch, Block

SPEC = make_spec(3, obs_dim=4, act_dim=2)
Row = tuple[float, ...]


class Rings:
    """What a buffer should hold: a list of transitions per task, the oldest overwritten."""

    def __init__(self, num_tasks: int, capacity: int) -> None:
        self.capacity = capacity
        self.slots: list[list[Row]] = [[] for _ in range(num_tasks)]
        self.next = [0] * num_tasks

    def add(self, block: Block, tasks: Sequence[int]) -> None:
        for task in tasks:
            for frame in range(block.rew.shape[1]):
                for copy in range(block.rew.shape[2]):
                    self.put(task, as_row([field[task, frame, copy] for field in block[:-1]]))

    def put(self, task: int, row: Row) -> None:
        ring = self.slots[task]
        if len(ring) < self.capacity:
            ring.append(row)
        else:
            ring[self.next[task]] = row
        self.next[task] = (self.next[task] + 1) % self.capacity


def as_row(fields: Sequence[Tensor]) -> Row:
    return tuple(value for field in fields for value in field.flatten().tolist())


def transitions_of(batch: Batch) -> list[list[Row]]:
    """A batch's transitions per task; with a discount of 1, ``discount`` is ``cont``."""
    fields = (batch.obs, batch.act, batch.rew, batch.next_obs, batch.discount)
    rows, count = batch.rew.shape
    return [[as_row([f[row, i] for f in fields]) for i in range(count)] for row in range(rows)]


def every_slot(buffer: ReplayBuffer, task: int) -> list[Row]:
    """Every transition that can be sampled for a task, oldest slot first."""
    size = int(buffer.size[task])
    pick = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    return transitions_of(buffer.sample(pick[None], torch.tensor([task]), discount=1.0))[0]


def uniform(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def numbered_block(first: int, frames: int, copies: int = 1) -> Block:
    """Rewards count up over time, from 1000 t for task t."""
    block = random_block(SPEC, frames, copies)
    rew = first + torch.arange(frames * copies).float().view(1, frames, copies)
    return block._replace(rew=rew + 1000.0 * torch.arange(3)[:, None, None])


def sampled_rewards(buffer: ReplayBuffer, tasks: Sequence[int], count: int = 2000) -> Tensor:
    return buffer.sample(uniform(len(tasks), count), torch.tensor(tasks), discount=1.0).rew


@pytest.mark.parametrize("frames", [1, 3, 10], ids=lambda n: f"blocks of {n} frames")
def test_contents_match_ring_buffers_at_every_fill_level(frames: int) -> None:
    """With different amounts per task, and after the block itself is overwritten."""
    buffer, rings = ReplayBuffer(SPEC, 10, CPU), Rings(3, 10)
    for epoch in range(12):
        block, tasks = random_block(SPEC, frames, seed=epoch), [0, 1, 2] if epoch % 3 else [2]
        buffer.add_block(block, tasks)
        rings.add(block, tasks)
        for field in block:
            field.zero_()
        for task in tasks:
            assert every_slot(buffer, task) == rings.slots[task]


def test_environments_are_interleaved_and_the_oldest_frame_is_overwritten() -> None:
    buffer = ReplayBuffer(SPEC, 8, CPU, copies=2)
    buffer.add_block(numbered_block(0, frames=3, copies=2), [0])
    buffer.add_block(numbered_block(6, frames=2, copies=2), [0])  # 0 and 1 are overwritten
    assert sorted(set(sampled_rewards(buffer, [0])[0].tolist())) == [2, 3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("frames", "copies", "message"),
    [(3, 2, r"6 transitions per task.*holds 5"), (1, 3, "3 copies, not 2")],
)
def test_a_block_that_does_not_fit_is_rejected(frames: int, copies: int, message: str) -> None:
    buffer = ReplayBuffer(SPEC, 5, CPU, copies=2)
    with pytest.raises(ValueError, match=message):
        buffer.add_block(random_block(SPEC, frames, copies), [0])
    assert buffer.size.tolist() == [0, 0, 0]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_picks_of_zero_and_one_select_the_first_and_last_slot(size: int) -> None:
    buffer = ReplayBuffer(SPEC, 1000, CPU)
    buffer.add_block(numbered_block(0, frames=size), [0])
    below_one = torch.nextafter(torch.tensor(1.0).double(), torch.tensor(0.0).double())
    pick = torch.stack((torch.zeros_like(below_one), below_one, torch.ones_like(below_one)))
    rew = buffer.sample(pick[None], torch.tensor([0]), discount=1.0).rew
    assert rew.tolist() == [[0, size - 1, size - 1]]


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
    buffer.add_block(random_block(SPEC, 20), [0, 1, 2])
    pick, task = uniform(2, 50), torch.tensor([2, 0])
    stored, raw = buffer.data.clone(), buffer.sample(pick, task, discount=0.9)
    buffer.reward_scale.copy_(torch.tensor([0.5, 7.0, 3.0]))
    scaled = buffer.sample(pick, task, discount=0.9)
    torch.testing.assert_close(scaled.rew, raw.rew * torch.tensor([[3.0], [0.5]]))
    for name in ("obs", "act", "next_obs", "discount"):
        assert torch.equal(getattr(scaled, name), getattr(raw, name))
    assert torch.equal(buffer.data, stored)


def copy_into(target: ReplayBuffer, source: ReplayBuffer) -> None:
    """Like a checkpoint: the state through a file, the rows by index."""
    target.load_state_dict(through_a_file(source.state_dict()))
    for task, end in enumerate(source.written):
        start = max(0, end - source.capacity)
        target.restore(task, start, source.rows(task, start).clone())


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


def test_restoring_keeps_the_tensors_a_captured_graph_reads() -> None:
    buffer = ReplayBuffer(SPEC, 10, CPU)
    buffer.add_block(random_block(SPEC, 3), [0])
    names = ("data", "size", "reward_scale")
    before = [getattr(buffer, name).data_ptr() for name in names]
    copy_into(buffer, buffer)
    assert [getattr(buffer, name).data_ptr() for name in names] == before
