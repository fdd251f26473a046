"""The replay buffer down-weights transitions collected before a task was retired."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from helpers import CPU, make_spec, random_block, through_a_file
from scipy.stats import chisquare
from torch import Tensor

from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.types import Block

SPEC = make_spec(2, obs_dim=3, act_dim=1)
CAPACITY = 10


def numbered_block(first: int, frames: int) -> Block:
    """Rewards count up over time, from 1000 t for task t."""
    block = random_block(SPEC, frames)
    rew = first + torch.arange(frames).float().view(1, frames, 1)
    return block._replace(rew=rew + 1000.0 * torch.arange(2)[:, None, None])


def buffer_with(weight: float, events: Sequence[int | str]) -> ReplayBuffer:
    """An int adds a block of that many frames; ``leaves`` retires task 0, which makes its data old.
    Task 1 gets every block and is never retired."""
    buffer, written = ReplayBuffer(SPEC, CAPACITY, CPU, old_weight=weight), 0
    for event in events:
        if event == "leaves":
            buffer.retire([0])
        else:
            assert isinstance(event, int)
            buffer.add_block(numbered_block(written, event), [0, 1])
            written += event
    return buffer


def rewards_at(buffer: ReplayBuffer, picks: Tensor, task: int = 0) -> list[int]:
    return buffer.sample(picks[None], torch.tensor([task]), discount=1.0).rew[0].long().tolist()


def uniform(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, generator=generator, dtype=torch.float64)


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
    buffer = buffer_with(weight, SCENARIOS[name][0])
    loaded = ReplayBuffer(SPEC, CAPACITY, CPU, old_weight=weight)
    for task, written in enumerate(buffer.written):
        start = max(0, written - CAPACITY)
        loaded.restore(task, start, buffer.rows(task, start))
    loaded.load_state_dict(through_a_file(buffer.state_dict()))
    for later in (buffer, loaded):
        later.add_block(numbered_block(500, 3), [0])
    assert rewards_at(loaded, uniform(300)) == rewards_at(buffer, uniform(300))


def test_retiring_a_task_updates_tensors_in_place() -> None:
    """A captured CUDA graph keeps reading the same addresses."""
    buffer = buffer_with(0.5, [4])
    held = [buffer.size, buffer._old, buffer._oldest]
    addresses = [tensor.data_ptr() for tensor in held]
    buffer.retire([0])
    buffer.add_block(numbered_block(4, 9), [0])
    assert [t.data_ptr() for t in (buffer.size, buffer._old, buffer._oldest)] == addresses
    assert [tensor.tolist()[0] for tensor in held] == [10, 1, 3]
