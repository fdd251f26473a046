"""n-step returns against a loop over each environment's own stream."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from helpers import CPU, make_spec
from tiny_runs import train
from torch import Tensor

from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.types import Batch, Block

SPEC = make_spec(2, obs_dim=1, act_dim=1)
HALF = 0.5
"""A discount with which returns of integer rewards are exact."""


class Step(NamedTuple):
    """A transition; ``obs`` is its number, ``next_obs`` that number plus a quarter."""

    obs: float
    rew: float
    cont: float
    first: float


def block_of(steps: Sequence[Sequence[Step]]) -> Block:
    """The same frames for both tasks: ``steps[frame][copy]``."""
    fields = [
        torch.tensor([[float(getattr(step, name)) for step in row] for row in steps])
        for name in Step._fields
    ]
    obs, rew, cont, first = (field[None].expand(2, -1, -1).clone() for field in fields)
    wide = obs[..., None]
    return Block(wide, torch.zeros_like(wide), rew, wide + 0.25, cont, first)


class Return(NamedTuple):
    rew: float
    discount: float
    next_obs: float


def found(buffer: ReplayBuffer, pick: Tensor, n: int, *, task: int = 0) -> dict[int, Return]:
    """The n-step return of each transition, by its number."""
    batch = buffer.sample(pick[None], torch.tensor([task]), discount=HALF, n_step=n)
    columns = (batch.obs[0, :, 0], batch.rew[0], batch.discount[0], batch.next_obs[0, :, 0])
    return {int(obs): Return(*rest) for obs, *rest in torch.stack(columns, 1).tolist()}


class Streams:
    """All transitions of a task's environments, and a buffer that has some of them."""

    def __init__(
        self, rng: np.random.Generator, *, capacity: int, copies: int, weight: float
    ) -> None:
        self.rng, self.copies = rng, copies
        self.buffer = ReplayBuffer(SPEC, capacity, CPU, copies=copies, old_weight=weight)
        self.steps: list[list[Step]] = [[] for _ in range(copies)]
        self.ended = [True] * copies

    def collect(self, frames: int) -> None:
        """Each step terminates or truncates its episode, with a probability of 1/6 each."""
        rows = []
        for _ in range(frames):
            row = []
            for copy, stream in enumerate(self.steps):
                end = self.rng.integers(6)
                number = len(stream) * self.copies + copy
                rew, first = float(self.rng.integers(-8, 9)), float(self.ended[copy])
                row.append(Step(number, rew, 0.0 if end == 0 else 1.0, first))
                stream.append(row[-1])
                self.ended[copy] = end < 2
            rows.append(row)
        self.buffer.add_block(block_of(rows), [0, 1])

    def retire_tasks(self) -> None:
        """The curriculum drops the task: its episodes are cut, its transitions become old."""
        self.ended = [True] * self.copies
        self.buffer.retire([0, 1])

    def expected_returns(self, n: int) -> dict[int, Return]:
        """The returns of all stored transitions: the newest ones, of any episode."""
        total = sum(map(len, self.steps))
        result = {}
        for number in range(max(0, total - self.buffer.capacity), total):
            place, copy = divmod(number, self.copies)
            rew, discount = 0.0, 1.0
            for ahead in range(n):
                step = self.steps[copy][place + ahead]
                rew, discount = rew + discount * step.rew, HALF * discount
                last = place + ahead + 1 == len(self.steps[copy])
                if last or self.steps[copy][place + ahead + 1].first:
                    break
            result[number] = Return(rew, discount * step.cont, step.obs + 0.25)
        return result


@pytest.mark.parametrize("seed", range(6))
def test_returns_of_random_streams_match_a_loop(seed: int) -> None:
    """Ring buffers of any size and number of copies, before and after they wrap around. The second
    task has the same rewards at half the scale."""
    rng = np.random.default_rng(seed)
    copies, longest = int(rng.integers(1, 5)), int(rng.integers(1, 9))
    capacity = copies * longest + int(rng.integers(0, 12))
    streams = Streams(rng, capacity=capacity, copies=copies, weight=1.0)
    streams.buffer.reward_scale[1] = 0.5
    for _ in range(8):
        streams.collect(int(rng.integers(1, longest + 1)))
        size = int(streams.buffer.size[0])
        pick = (torch.arange(size, dtype=torch.float64) + 0.5) / size  # of each transition
        for n in (1, 2, 3, 7, 30):
            expected = streams.expected_returns(n)
            assert found(streams.buffer, pick, n) == expected, (copies, capacity, n)
            half = {number: ret._replace(rew=ret.rew / 2) for number, ret in expected.items()}
            assert found(streams.buffer, pick, n, task=1) == half


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_task_that_left_and_came_back_has_no_return_across_the_gap(
    seed: int, weight: float
) -> None:
    """Whatever the weight of its old transitions."""
    rng = np.random.default_rng(seed)
    streams = Streams(rng, capacity=17, copies=2, weight=weight)
    pick = torch.from_numpy(rng.random(400))
    for _ in range(6):
        streams.collect(int(rng.integers(1, 6)))
        streams.retire_tasks()
        streams.collect(int(rng.integers(1, 6)))
        drawn = found(streams.buffer, pick, 4)
        assert drawn.items() <= streams.expected_returns(4).items()


def test_a_run_samples_with_its_configured_n_step_and_discount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, float]] = []
    sample = ReplayBuffer.sample

    def watched(self: ReplayBuffer, pick: Tensor, task: Tensor, **options: Any) -> Batch:
        calls.append({**options, "copies": self.copies})
        return sample(self, pick, task, **options)

    monkeypatch.setattr(ReplayBuffer, "sample", watched)
    env = {"env__suite": "gymnasium", "env__tasks": ["Pendulum-v1"], "env__num_envs": 3}
    train(tmp_path, algo="td3", train__n_step=5, td3__discount=0.75, **env)
    assert calls == [{"discount": 0.75, "n_step": 5, "copies": 3}] * 4
