"""Returns of several steps against a loop over each environment's own stream."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from helpers import CPU, make_learner, make_spec, through_a_file
from torch import Tensor

from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.collector.collector import Collector
from torchrl_lite.command.launch import main
from torchrl_lite.config import EnvConfig
from torchrl_lite.env.make import make_spec as spec_of
from torchrl_lite.types import Batch, Block

SPEC = make_spec(2, obs_dim=1, act_dim=1)
HALF = 0.5
"""A discount that no return of whole numbers is rounded by."""


class Step(NamedTuple):
    """A transition; ``obs`` is its number, ``next_obs`` that and a quarter."""

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


class Told(NamedTuple):
    rew: float
    discount: float
    next_obs: float


def returns(buffer: ReplayBuffer, n: int, *, gamma: float = HALF, task: int = 0) -> dict[int, Told]:
    """What every stored transition's return is, by its number."""
    size = int(buffer.size[task])
    pick = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    batch = buffer.sample(pick[None], torch.tensor([task]), discount=gamma, n_step=n)
    columns = (batch.obs[0, :, 0], batch.rew[0], batch.discount[0], batch.next_obs[0, :, 0])
    return {int(obs): Told(*rest) for obs, *rest in torch.stack(columns, 1).tolist()}


# --- by hand --------------------------------------------------------------------------------------


def one_stream(cont_of_third: float, capacity: int = 10) -> ReplayBuffer:
    """Rewards 1, 2, 4, 8, 16; the third transition ends an episode."""
    buffer = ReplayBuffer(SPEC, capacity, CPU)
    conts = [1.0, 1.0, cont_of_third, 1.0, 1.0]
    steps = [Step(i, 2.0**i, conts[i], float(i in (0, 3))) for i in range(5)]
    buffer.add_block(block_of([[step] for step in steps]), [0, 1])
    return buffer


def test_a_time_limit_ends_a_return_and_bootstraps() -> None:
    assert returns(one_stream(1.0), 3) == {
        0: Told(1 + 1 + 1, 1 / 8, 2.25),
        1: Told(2 + 2, 1 / 4, 2.25),
        2: Told(4, 1 / 2, 2.25),
        3: Told(8 + 8, 1 / 4, 4.25),  # nothing newer
        4: Told(16, 1 / 2, 4.25),
    }


def test_a_terminal_state_ends_a_return_and_counts_for_nothing() -> None:
    assert returns(one_stream(0.0), 3) == {
        0: Told(3, 0, 2.25),
        1: Told(4, 0, 2.25),
        2: Told(4, 0, 2.25),
        3: Told(16, 1 / 4, 4.25),
        4: Told(16, 1 / 2, 4.25),
    }


def test_two_steps_of_a_longer_episode() -> None:
    assert returns(one_stream(1.0), 2)[0] == Told(1 + 1, 1 / 4, 1.25)


def test_the_newest_transition_never_goes_on_in_the_oldest() -> None:
    """Six in a ring of four: numbers 4 and 5 lie in slots 0 and 1, before 2 and 3."""
    buffer = ReplayBuffer(SPEC, 4, CPU)
    steps = [[Step(i, 1.0, 1.0, float(i == 0))] for i in range(6)]
    buffer.add_block(block_of(steps[:3]), [0, 1])
    buffer.add_block(block_of(steps[3:]), [0, 1])
    assert returns(buffer, 3) == {
        2: Told(1.75, 1 / 8, 4.25),
        3: Told(1.75, 1 / 8, 5.25),
        4: Told(1.5, 1 / 4, 5.25),
        5: Told(1.0, 1 / 2, 5.25),
    }


def test_environments_of_a_task_have_returns_of_their_own() -> None:
    """Two copies, rewards 1 and 100; that of the second ends after its first frame."""
    buffer = ReplayBuffer(SPEC, 10, CPU, copies=2)
    steps = [
        [Step(0, 1, 1, 1), Step(1, 100, 0, 1)],
        [Step(2, 1, 1, 0), Step(3, 100, 1, 1)],
        [Step(4, 1, 1, 0), Step(5, 100, 1, 0)],
    ]
    buffer.add_block(block_of(steps), [0, 1])
    assert returns(buffer, 3) == {
        0: Told(1.75, 1 / 8, 4.25),
        1: Told(100, 0, 1.25),
        2: Told(1.5, 1 / 4, 4.25),
        3: Told(150, 1 / 4, 5.25),
        4: Told(1, 1 / 2, 4.25),
        5: Told(100, 1 / 2, 5.25),
    }


def test_a_ring_that_no_frame_fills_evenly_keeps_copies_apart() -> None:
    """Five places for two copies: of number 3 the predecessor is gone, not the successor."""
    buffer = ReplayBuffer(SPEC, 5, CPU, copies=2)
    for start in (0, 4):
        steps = [[Step(i + k, 2.0 ** (i + k), 1, float(i == 0)) for k in (0, 1)]
                 for i in (start, start + 2)]  # fmt: skip
        buffer.add_block(block_of(steps), [0, 1])
    assert returns(buffer, 4) == {
        3: Told(8 + 16 + 32, 1 / 8, 7.25),
        4: Told(16 + 32, 1 / 4, 6.25),
        5: Told(32 + 64, 1 / 4, 7.25),
        6: Told(64, 1 / 2, 6.25),
        7: Told(128, 1 / 2, 7.25),
    }


def test_the_scale_of_a_task_multiplies_its_whole_return() -> None:
    buffer = one_stream(1.0)
    buffer.reward_scale.copy_(torch.tensor([3.0, 0.25]))
    assert [returns(buffer, 3, task=task)[0].rew for task in (0, 1)] == [9.0, 0.75]


def test_a_discount_of_one_adds_and_one_of_zero_forgets() -> None:
    assert returns(one_stream(1.0), 3, gamma=1.0)[0] == Told(1 + 2 + 4, 1, 2.25)
    assert returns(one_stream(1.0), 3, gamma=0.0)[0] == Told(1, 0, 2.25)


# --- against a loop -------------------------------------------------------------------------------


class Streams:
    """A task's environments and all they ever did, with a buffer that has a part of it."""

    def __init__(
        self, rng: np.random.Generator, *, capacity: int, copies: int, weight: float
    ) -> None:
        self.rng, self.copies = rng, copies
        self.buffer = ReplayBuffer(SPEC, capacity, CPU, copies=copies, old_weight=weight)
        self.steps: list[list[Step]] = [[] for _ in range(copies)]
        self.ended = [True] * copies

    def live(self, frames: int) -> None:
        """Episodes that end by a time limit or in a terminal state, a sixth of the time each."""
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

    def leave(self) -> None:
        """A curriculum's task leaves: its episodes are dropped, what it has is old."""
        self.ended = [True] * self.copies
        self.buffer.retire([0, 1])

    def told(self, n: int) -> dict[int, Told]:
        """Of all that is stored: the newest transitions, whatever they belong to."""
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
            result[number] = Told(rew, discount * step.cont, step.obs + 0.25)
        return result


@pytest.mark.parametrize("seed", range(40))
def test_returns_of_random_streams_are_those_of_a_loop(seed: int) -> None:
    """Rings of any size and number of copies, before and after they went round."""
    rng = np.random.default_rng(seed)
    copies, longest = int(rng.integers(1, 5)), int(rng.integers(1, 9))
    capacity = copies * longest + int(rng.integers(0, 12))
    streams = Streams(rng, capacity=capacity, copies=copies, weight=1.0)
    for _ in range(8):
        streams.live(int(rng.integers(1, longest + 1)))
        for n in (1, 2, 3, 7, 30):
            expected = streams.told(n)
            assert returns(streams.buffer, n) == expected, (copies, capacity, n)
            assert returns(streams.buffer, n, task=1) == expected


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_task_that_left_and_came_back_has_no_return_across_the_gap(
    seed: int, weight: float
) -> None:
    """However its old transitions are drawn."""
    rng = np.random.default_rng(seed)
    streams = Streams(rng, capacity=17, copies=2, weight=weight)
    pick = torch.from_numpy(rng.random((1, 400)))
    for _ in range(6):
        streams.live(int(rng.integers(1, 6)))
        streams.leave()
        streams.live(int(rng.integers(1, 6)))
        expected = streams.told(4)
        batch = streams.buffer.sample(pick, torch.tensor([0]), discount=HALF, n_step=4)
        drawn = zip(batch.rew[0], batch.discount[0], batch.next_obs[0, :, 0], strict=True)
        for number, told in zip(batch.obs[0, :, 0].tolist(), drawn, strict=True):
            assert Told(*map(float, told)) == expected[int(number)]


def test_a_checkpoint_keeps_what_belongs_together() -> None:
    rng = np.random.default_rng(0)
    streams = Streams(rng, capacity=11, copies=3, weight=1.0)
    for _ in range(5):
        streams.live(3)
    buffer = streams.buffer
    restored = ReplayBuffer(SPEC, 11, CPU, copies=3)
    for task, written in enumerate(buffer.written):
        restored.restore(task, written - 11, buffer.rows(task, written - 11))
    restored.load_state_dict(through_a_file(buffer.state_dict()))
    streams.buffer = restored
    streams.live(2)
    assert returns(restored, 3) == streams.told(3)


# --- one step -------------------------------------------------------------------------------------


def same(one: Batch, other: Batch) -> bool:
    return all(map(torch.equal, one, other))


def test_one_step_is_the_stored_transition_to_the_last_bit() -> None:
    buffer = one_stream(0.0)
    buffer.reward_scale.fill_(0.3)
    pick, task = torch.rand(2, 50, dtype=torch.float64), torch.tensor([1, 0])
    batch = buffer.sample(pick, task, discount=0.97)
    rows = torch.stack([buffer.data[t][(5 * p).long()] for t, p in zip([1, 0], pick, strict=True)])
    obs, act, next_obs, rew, cont, _ = rows.unbind(-1)
    expected = obs[..., None], act[..., None], rew * 0.3, next_obs[..., None], 0.97 * cont, task
    assert same(batch, Batch(*expected))
    assert same(batch, buffer.sample(pick, task, discount=0.97, n_step=1))


def test_many_steps_of_transitions_that_stand_alone_are_one_step() -> None:
    buffer = ReplayBuffer(SPEC, 40, CPU, copies=2)
    steps = [[Step(2 * i + k, 0.7 * i, 1, 1) for k in (0, 1)] for i in range(20)]
    buffer.add_block(block_of(steps), [0, 1])
    pick, task = torch.rand(2, 50, dtype=torch.float64), torch.tensor([0, 1])
    alone = buffer.sample(pick, task, discount=0.97)
    assert same(buffer.sample(pick, task, discount=0.97, n_step=5), alone)


# --- in a run -------------------------------------------------------------------------------------


@pytest.mark.parametrize("algo", ["sac", "td3", "ddpg"])
def test_a_run_samples_the_steps_and_the_discount_of_its_configuration(
    algo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, float]] = []
    sample = ReplayBuffer.sample

    def watched(self: ReplayBuffer, pick: Tensor, task: Tensor, **options: Any) -> Batch:
        asked.append({**options, "copies": self.copies})
        return sample(self, pick, task, **options)

    monkeypatch.setattr(ReplayBuffer, "sample", watched)
    config = {
        "env": {"suite": "gymnasium", "tasks": ["Pendulum-v1"], "num_envs": 3,
                "max_episode_frames": 8},
        "net": {"hidden_shapes": [8]},
        "train": {"pretrain_epochs": 1, "num_epochs": 2, "epoch_frames": 10, "opt_steps": 2,
                  "n_step": 5, "batch_size": 8, "eval_episodes": 1, "final_eval_episodes": 1},
        "system": {"workers": 0, "threads": 1},
        algo: {"discount": 0.75},
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    argv = ["--config", str(tmp_path / "config.json"), "--log_dir", str(tmp_path)]
    assert main(algo, [*argv, "--device", "cpu"]) == 0
    assert asked == [{"discount": 0.75, "n_step": 5, "copies": 3}] * 4


# --- from environments ----------------------------------------------------------------------------

TASKS = ["Pendulum-v1", "InvertedPendulum-v5"]
LIMIT, FRAMES, COPIES = 7, 10, 2
CONFIG = EnvConfig(
    suite="gymnasium",
    tasks=TASKS,
    num_envs=len(TASKS) * COPIES,
    group_size=2,
    max_episode_frames=LIMIT,
)
EPOCHS = [(0, 1), (0, 1), (1,), (0, 1), (0,), (0, 1)]


def collect(workers: int, *, stop: int | None = None) -> list[Block]:
    """Every epoch's block, random actions; with ``stop``, a new collector goes on from there."""
    blocks: list[Block] = []
    state: dict | None = None
    spec = spec_of(CONFIG)
    actor = make_learner("sac", spec).actor
    for epochs in (EPOCHS[:stop], EPOCHS[stop:]) if stop else (EPOCHS,):
        with Collector(
            CONFIG, spec, actor, epoch_frames=FRAMES, seed=3, workers=workers
        ) as collector:
            if state is not None:
                collector.load_state_dict(state)
            for tasks in epochs:
                collector.submit(actor, tasks, random=True)
                blocks.append(Block(*(field.clone() for field in collector.result().block)))
            state = through_a_file(collector.state_dict())
    return blocks


@pytest.fixture(scope="module")
def blocks() -> list[Block]:
    return collect(0)


def follows(block: Block, task: int, frame: int, copy: int, before: Block | None) -> bool:
    """Whether the frame goes on where the one before it ended: what it saw is the same."""
    if frame == 0 and before is None:
        return False
    old = block.next_obs[task, frame - 1, copy] if frame else before.next_obs[task, -1, copy]
    return torch.equal(block.obs[task, frame, copy], old)


def test_a_frame_is_the_first_where_it_goes_on_from_none(blocks: list[Block]) -> None:
    """Also where an epoch ends in an episode, and where a task was left out for an epoch."""
    lives: dict[int, Block] = {}
    terminal = 0
    for block, tasks in zip(blocks, EPOCHS, strict=True):
        for task in (0, 1):
            if task not in tasks:
                lives.pop(task, None)
                continue
            for frame in range(FRAMES):
                for copy in range(COPIES):
                    goes_on = follows(block, task, frame, copy, lives.get(task))
                    assert bool(block.first[task, frame, copy]) == (not goes_on)
            terminal += int((block.cont[task] == 0).sum())
            ended = block.cont[task, :-1] == 0
            assert (block.first[task, 1:][ended] == 1).all()
            lives[task] = block
    assert terminal > 5


def test_a_time_limit_begins_the_next_episode(blocks: list[Block]) -> None:
    """A pendulum's episodes: 7 frames each, in epochs of 10, one of which is without it."""
    first = [block.first[0, :, 0].nonzero()[:, 0].tolist() for block in blocks]
    assert [first[0], first[1], first[3]] == [[0, 7], [4], [0, 7]]
    assert [first[4], first[5]] == [[4], [1, 8]]


@pytest.mark.parametrize(("workers", "stop"), [(0, 1), (0, 4), (2, 3)])
def test_workers_and_a_pause_in_mid_episode_change_no_bit(
    workers: int, stop: int | None, blocks: list[Block]
) -> None:
    for ours, theirs, tasks in zip(collect(workers, stop=stop), blocks, EPOCHS, strict=True):
        for task in tasks:
            for name in Block._fields:
                assert torch.equal(getattr(ours, name)[task], getattr(theirs, name)[task]), name


@pytest.mark.parametrize("n", [3, 20])
def test_returns_of_collected_episodes_are_those_of_a_loop(n: int, blocks: list[Block]) -> None:
    """Found again in the stream by the observations, which no two transitions share."""
    spec, capacity, gamma = spec_of(CONFIG), 75, 0.9
    buffer = ReplayBuffer(spec, capacity, CPU, copies=COPIES)
    for block, tasks in zip(blocks, EPOCHS, strict=True):
        buffer.add_block(block, tasks)
    for task in (0, 1):
        lived = [block for block, tasks in zip(blocks, EPOCHS, strict=True) if task in tasks]
        whole = Block(*(torch.cat([getattr(b, name)[task] for b in lived])[None]
                        for name in Block._fields))  # fmt: skip
        pick = (torch.arange(capacity, dtype=torch.float64) + 0.5) / capacity
        batch = buffer.sample(pick[None], torch.tensor([task]), discount=gamma, n_step=n)
        assert int(buffer.size[task]) == capacity
        for index in range(capacity):
            found = (whole.obs[0] == batch.obs[0, index]).all(-1).nonzero()
            frame, copy = found[0].tolist() if len(found) == 1 else pytest.fail("two alike")
            expected = _loop(whole, frame, copy, n, gamma)
            told = [batch.rew[0, index], batch.discount[0, index]]
            torch.testing.assert_close(torch.stack(told), expected[0])
            assert torch.equal(batch.next_obs[0, index], expected[1])


def _loop(whole: Block, frame: int, copy: int, n: int, gamma: float) -> tuple[Tensor, Tensor]:
    """Reward and discount, and the observation that the return bootstraps from."""
    rew, discount = 0.0, 1.0
    for step in range(frame, min(frame + n, whole.rew.shape[1])):
        if step > frame and whole.first[0, step, copy]:
            break
        rew, discount = rew + discount * float(whole.rew[0, step, copy]), gamma * discount
        cont, next_obs = float(whole.cont[0, step, copy]), whole.next_obs[0, step, copy]
    return torch.tensor([rew, discount * cont]), next_obs
