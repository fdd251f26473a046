"""What the buffer does with the transitions of a task that leaves, against rings of lists."""

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


def numbered(first: int, frames: int) -> Block:
    """Rewards count up in the order of time; those of task t begin at 1000 t."""
    block = random_block(SPEC, frames)
    rew = first + torch.arange(frames).float().view(1, frames, 1)
    return block._replace(rew=rew + 1000.0 * torch.arange(2)[:, None, None])


def buffer_with(weight: float, events: Sequence[int | str]) -> ReplayBuffer:
    """Task 0 after blocks of so many frames and ``leaves`` (its data is old from there); task 1
    gets all the blocks and never leaves."""
    buffer, written = ReplayBuffer(SPEC, CAPACITY, CPU, old_weight=weight), 0
    for event in events:
        if event == "leaves":
            buffer.retire([0])
        else:
            assert isinstance(event, int)
            buffer.add_block(numbered(written, event), [0, 1])
            written += event
    return buffer


def rewards_at(buffer: ReplayBuffer, picks: Tensor, task: int = 0) -> list[int]:
    return buffer.sample(picks[None], torch.tensor([task]), discount=1.0).rew[0].long().tolist()


def uniform(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, generator=generator, dtype=torch.float64)


EDGES = torch.tensor([0.0, 1 - 2.0**-53], dtype=torch.float64)
# Events, the rewards that are old by then, and those that are new.
LIVES: dict[str, tuple[list[int | str], list[int], list[int]]] = {
    "left, and nothing since": ([4, "leaves"], [0, 1, 2, 3], []),
    "came back": ([4, "leaves", 3], [0, 1, 2, 3], [4, 5, 6]),
    "old ones are overwritten": ([4, "leaves", 6, 3], [3], [4, 5, 6, 7, 8, 9, 10, 11, 12]),
    "all old ones are overwritten": ([4, "leaves", 6, 6], [], list(range(6, 16))),
    "left with a ring that went round": ([9, 6, "leaves", 2], list(range(7, 15)), [15, 16]),
    "left twice": ([3, "leaves", 3, "leaves", 2], [0, 1, 2, 3, 4, 5], [6, 7]),
}


DRAWN = [(name, weight) for name in LIVES for weight in (0.0, 0.25, 1 / 3)]
DRAWN.remove(("left, and nothing since", 0.0))  # there is nothing to draw


@pytest.mark.parametrize(("name", "weight"), DRAWN)
def test_old_transitions_are_drawn_with_their_weight(name: str, weight: float) -> None:
    events, old, new = LIVES[name]
    shares = dict.fromkeys(old if weight else [], weight) | dict.fromkeys(new, 1.0)

    first, last, *drawn = rewards_at(buffer_with(weight, events), torch.cat([EDGES, uniform(4000)]))

    assert (first, last) == (min(shares), max(shares))  # from the oldest to the newest
    assert set(drawn) <= set(shares)
    expected = np.array([*shares.values()]) / sum(shares.values()) * len(drawn)
    assert chisquare([drawn.count(rew) for rew in shares], expected).pvalue > 1e-4


@pytest.mark.parametrize("name", LIVES)
def test_with_a_weight_of_one_leaving_changes_nothing(name: str) -> None:
    events = [event for event in LIVES[name][0] if event != "leaves"]
    left = buffer_with(1.0, LIVES[name][0])
    picks = torch.cat([EDGES, uniform(200)])
    assert rewards_at(left, picks) == rewards_at(buffer_with(1.0, events), picks)


@pytest.mark.parametrize(("weight", "holds"), [(0.0, False), (0.25, True), (1.0, True)])
def test_what_is_gone_is_not_held_any_more(weight: float, holds: bool) -> None:
    left = buffer_with(weight, [4, "leaves"])
    assert [left.holds(task) for task in (0, 1)] == [holds, True]
    assert buffer_with(weight, [4, "leaves", 1]).holds(0)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("name", LIVES)
def test_a_checkpoint_keeps_what_is_old(name: str, weight: float) -> None:
    buffer = buffer_with(weight, LIVES[name][0])
    loaded = ReplayBuffer(SPEC, CAPACITY, CPU, old_weight=weight)
    for task, written in enumerate(buffer.written):
        start = max(0, written - CAPACITY)
        loaded.restore(task, start, buffer.rows(task, start))
    loaded.load_state_dict(through_a_file(buffer.state_dict()))
    for later in (buffer, loaded):
        later.add_block(numbered(500, 3), [0])
    assert rewards_at(loaded, uniform(300)) == rewards_at(buffer, uniform(300))


def test_leaving_is_seen_by_tensors_that_a_captured_step_holds() -> None:
    """A graph reads the same addresses for ever."""
    buffer = buffer_with(0.5, [4])
    held = [buffer.size, buffer._old, buffer._oldest]
    addresses = [tensor.data_ptr() for tensor in held]
    buffer.retire([0])
    buffer.add_block(numbered(4, 9), [0])
    assert [t.data_ptr() for t in (buffer.size, buffer._old, buffer._oldest)] == addresses
    assert [tensor.tolist()[0] for tensor in held] == [10, 1, 3]
