"""The replay buffer against rings of Python lists."""

import subprocess
import sys
from collections.abc import Sequence

import pytest
import torch
from helpers import CPU, make_spec, random_block, through_a_file
from scipy.stats import chisquare
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


def in_slots(batch: Batch) -> list[list[Row]]:
    """A batch's transitions, task row by task row; without a discount it says ``cont``."""
    fields = (batch.obs, batch.act, batch.rew, batch.next_obs, batch.discount)
    rows, count = batch.rew.shape
    return [[as_row([f[row, i] for f in fields]) for i in range(count)] for row in range(rows)]


def every_slot(buffer: ReplayBuffer, task: int) -> list[Row]:
    """All that can be sampled of a task, oldest slot first."""
    size = int(buffer.size[task])
    pick = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    return in_slots(buffer.sample(pick[None], torch.tensor([task]), discount=1.0))[0]


def uniform(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def numbered(first: int, frames: int, copies: int = 1) -> Block:
    """Rewards count up in the order of time; those of task t begin at 1000 t."""
    block = random_block(SPEC, frames, copies)
    rew = first + torch.arange(frames * copies).float().view(1, frames, copies)
    return block._replace(rew=rew + 1000.0 * torch.arange(3)[:, None, None])


def sampled_rewards(buffer: ReplayBuffer, tasks: Sequence[int], count: int = 2000) -> Tensor:
    return buffer.sample(uniform(len(tasks), count), torch.tensor(tasks), discount=1.0).rew


# --- what is stored -------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 3, 4, 5, 10], ids=lambda n: f"blocks of {n} frames")
def test_contents_are_those_of_a_ring_of_lists_at_every_fill(frames: int) -> None:
    buffer, rings = ReplayBuffer(SPEC, 10, CPU), Rings(3, 10)
    for epoch in range(12):
        block = random_block(SPEC, frames, seed=epoch)
        buffer.add_block(block, [0, 1, 2])
        rings.add(block, [0, 1, 2])
        for task in range(3):
            assert every_slot(buffer, task) == rings.slots[task]


def test_tasks_that_receive_different_amounts_have_rings_of_their_own() -> None:
    buffer, rings = ReplayBuffer(SPEC, 7, CPU), Rings(3, 7)
    for epoch, tasks in enumerate([[0, 2], [2], [2], [0, 1, 2], [0]]):
        block = random_block(SPEC, 3, seed=epoch)
        buffer.add_block(block, tasks)
        rings.add(block, tasks)
    assert buffer.size.tolist() == [7, 3, 7]
    for task in range(3):
        assert every_slot(buffer, task) == rings.slots[task]


def test_environments_of_a_frame_are_stored_side_by_side_and_the_oldest_frame_first() -> None:
    buffer = ReplayBuffer(SPEC, 8, CPU, copies=2)
    buffer.add_block(numbered(0, frames=3, copies=2), [0])
    buffer.add_block(numbered(6, frames=2, copies=2), [0])  # 0 and 1 are overwritten
    assert sorted(set(sampled_rewards(buffer, [0])[0].tolist())) == [2, 3, 4, 5, 6, 7, 8, 9]


def test_a_block_as_large_as_the_buffer_fits() -> None:
    buffer = ReplayBuffer(SPEC, 6, CPU, copies=2)
    buffer.add_block(numbered(0, frames=1, copies=2), [0])
    buffer.add_block(numbered(2, frames=3, copies=2), [0])
    assert sorted(set(sampled_rewards(buffer, [0])[0].tolist())) == [2, 3, 4, 5, 6, 7]


def test_a_block_larger_than_the_buffer_is_refused_with_both_sizes() -> None:
    buffer = ReplayBuffer(SPEC, 5, CPU, copies=2)
    with pytest.raises(ValueError, match=r"6 transitions per task.*holds 5"):
        buffer.add_block(random_block(SPEC, 3, 2), [0])
    assert buffer.size.tolist() == [0, 0, 0]


def test_a_block_of_another_number_of_environments_is_refused() -> None:
    buffer = ReplayBuffer(SPEC, 20, CPU, copies=2)
    with pytest.raises(ValueError, match="3 copies, not 2"):
        buffer.add_block(random_block(SPEC, 2, 3), [0])
    assert buffer.size.tolist() == [0, 0, 0]


def test_a_transition_of_meta_world_takes_no_more_than_340_bytes() -> None:
    buffer = ReplayBuffer(make_spec(2, obs_dim=39, act_dim=4), 100, CPU)
    assert buffer.data.nbytes / (2 * 100) <= 340
    assert buffer.bytes_per_transition == buffer.data.nbytes / (2 * 100)


def test_what_is_stored_does_not_change_with_the_block_it_came_from() -> None:
    buffer, block = ReplayBuffer(SPEC, 5, CPU), random_block(SPEC, 5)
    buffer.add_block(block, [0, 1, 2])
    before = every_slot(buffer, 0)
    for field in block:
        field.zero_()
    assert every_slot(buffer, 0) == before


# --- sampling -------------------------------------------------------------------------------------


def test_a_transition_comes_out_as_it_went_in() -> None:
    buffer, block = ReplayBuffer(SPEC, 5, CPU), random_block(SPEC, 1)
    buffer.add_block(block, [0, 1, 2])
    task = torch.tensor([2, 0])
    batch = buffer.sample(uniform(2, 1), task, discount=0.75)
    for name in Block._fields[:4]:
        assert torch.equal(getattr(batch, name)[:, 0], getattr(block, name)[[2, 0], 0, 0])
    assert torch.equal(batch.discount[:, 0], 0.75 * block.cont[[2, 0], 0, 0])
    assert torch.equal(batch.task, task)


def test_slots_that_were_never_written_are_never_sampled() -> None:
    buffer = ReplayBuffer(SPEC, 100, CPU)
    buffer.add_block(numbered(1, frames=1), [0])
    buffer.add_block(numbered(1, frames=37), [1])
    rew = sampled_rewards(buffer, [0, 1])
    assert set(rew[0].tolist()) == {1}
    assert set(rew[1].tolist()) == {1001.0 + n for n in range(37)}


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_the_ends_of_the_unit_interval_pick_the_first_and_the_last_slot(size: int) -> None:
    buffer = ReplayBuffer(SPEC, 1000, CPU)
    buffer.add_block(numbered(0, frames=size), [0])
    largest = torch.nextafter(torch.tensor(1.0).double(), torch.tensor(0.0).double())
    pick = torch.stack((torch.zeros_like(largest), largest, torch.ones_like(largest)))
    rew = buffer.sample(pick[None], torch.tensor([0]), discount=1.0).rew
    assert rew.tolist() == [[0, size - 1, size - 1]]


def test_samples_are_uniform_over_the_filled_part() -> None:
    buffer = ReplayBuffer(SPEC, 64, CPU)
    buffer.add_block(numbered(0, frames=50), [1])
    rew = sampled_rewards(buffer, [1], count=50_000)[0] - 1000
    counts = torch.bincount(rew.long(), minlength=50)
    assert len(counts) == 50
    assert chisquare(counts.numpy()).pvalue > 0.001


def test_samples_stay_uniform_after_the_ring_has_wrapped() -> None:
    buffer = ReplayBuffer(SPEC, 50, CPU)
    for first in (0, 30, 60):
        buffer.add_block(numbered(first, frames=30), [0])
    rew = sampled_rewards(buffer, [0], count=50_000)[0]
    assert rew.min() == 40  # the oldest of the last fifty
    counts = torch.bincount(rew.long() - 40, minlength=50)
    assert len(counts) == 50
    assert chisquare(counts.numpy()).pvalue > 0.001


def test_neighbours_among_twenty_million_can_all_be_picked() -> None:
    """Float32 has 2^24 numbers in [0, 1): rounded to it, a pick would miss most of the slots."""
    size = 20_000_000
    buffer = ReplayBuffer(make_spec(obs_dim=1, act_dim=1), size, torch.device("meta"))
    buffer.data = torch.arange(size, dtype=torch.float64)[None, :, None].expand(1, size, 6)
    buffer.size, buffer.reward_scale = torch.tensor([size]), torch.ones(1)
    wanted = torch.arange(size - 6, size)
    pick = (wanted.double() + 0.5) / size
    batch = buffer.sample(pick[None], torch.tensor([0]), discount=1.0)
    assert batch.obs[0, :, 0].tolist() == wanted.tolist()


def test_rows_of_a_batch_are_picked_independently() -> None:
    buffer = ReplayBuffer(SPEC, 200, CPU)
    buffer.add_block(numbered(0, frames=200), [0, 1])
    pick = uniform(2, 4000)
    rew = buffer.sample(pick, torch.tensor([0, 1]), discount=1.0).rew
    rew -= torch.tensor([[0.0], [1000.0]])
    assert abs(torch.corrcoef(rew)[0, 1]) < 0.05
    other = pick.clone()
    other[0] = uniform(4000, seed=1)
    again = buffer.sample(other, torch.tensor([0, 1]), discount=1.0).rew
    assert torch.equal(again[1] - 1000, rew[1])
    assert not torch.equal(again[0], rew[0])


def test_each_row_of_a_batch_holds_its_task_only() -> None:
    buffer = ReplayBuffer(SPEC, 20, CPU)
    buffer.add_block(numbered(0, frames=20), [0, 1, 2])
    rew = sampled_rewards(buffer, [2, 0])
    assert (rew[0] >= 2000).all()
    assert (rew[1] < 20).all()


def test_rewards_are_scaled_as_they_are_sampled_and_stay_raw_in_the_buffer() -> None:
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


def test_old_transitions_carry_todays_scale() -> None:
    buffer = ReplayBuffer(SPEC, 20, CPU)
    buffer.reward_scale.fill_(2.0)
    buffer.add_block(numbered(10, frames=1), [0])
    buffer.reward_scale.fill_(5.0)
    assert set(sampled_rewards(buffer, [0])[0].tolist()) == {50.0}


# --- saving ---------------------------------------------------------------------------------------


def copy_into(target: ReplayBuffer, source: ReplayBuffer) -> None:
    """As a checkpoint does it: the state through a file, the rows by their numbers."""
    target.load_state_dict(through_a_file(source.state_dict()))
    for task, end in enumerate(source.written):
        start = max(0, end - source.capacity)
        target.restore(task, start, source.rows(task, start).clone())


@pytest.mark.parametrize("epochs", [0, 1, 3, 4, 7])
def test_a_restored_buffer_goes_on_as_the_original(epochs: int) -> None:
    """Before and after the wrap-around, and with tasks that received different amounts."""
    buffer, restored = ReplayBuffer(SPEC, 10, CPU), ReplayBuffer(SPEC, 10, CPU)
    restored.add_block(random_block(SPEC, 9, seed=99), [0, 1, 2])  # to be forgotten
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


def test_rows_keep_their_numbers_as_the_ring_goes_round() -> None:
    buffer = ReplayBuffer(SPEC, 10, CPU)
    for first in (0, 8, 16):
        buffer.add_block(numbered(first, frames=8), [0])
    rewards = buffer.rows(0, 17)[:, -3]
    assert rewards.tolist() == list(range(17, 24))


@pytest.mark.parametrize("start", [-1, 13, 25])
def test_rows_that_are_not_there_are_refused(start: int) -> None:
    buffer = ReplayBuffer(SPEC, 10, CPU)
    for first in (0, 8, 16):
        buffer.add_block(numbered(first, frames=8), [0])
    with pytest.raises(ValueError, match=f"transition {start} of task 0"):
        buffer.rows(0, start)


def test_restoring_keeps_the_tensors_that_a_captured_graph_reads() -> None:
    buffer = ReplayBuffer(SPEC, 10, CPU)
    buffer.add_block(random_block(SPEC, 3), [0])
    names = ("data", "size", "reward_scale")
    before = [getattr(buffer, name).data_ptr() for name in names]
    copy_into(buffer, buffer)
    assert [getattr(buffer, name).data_ptr() for name in names] == before


FULL_MT50 = """
from pathlib import Path
import torch
from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.types import Spec

def resident():
    return 1024 * int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])

tasks, rows = 50, 100_000
spec = Spec(tuple(str(task) for task in range(tasks)), (39,) * tasks, (4,) * tasks)
before = resident()
buffer = ReplayBuffer(spec, rows, torch.device("cpu"))
for task in range(tasks):
    buffer.add_rows(task, torch.ones(rows, buffer.data.shape[-1]))
print(int(buffer.size.sum()), resident() - before)
"""


@pytest.mark.slow
def test_mt50s_full_buffer_takes_less_than_two_and_a_half_gigabytes() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", FULL_MT50], capture_output=True, text=True, check=True
    )
    stored, taken = map(int, answer.stdout.split())
    assert stored == 50 * 100_000
    assert 336 * stored <= taken < 2.5e9
