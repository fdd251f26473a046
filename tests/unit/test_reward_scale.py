"""Running reward scales match the formulas of garage and FlashSAC, one reward at a time."""

from collections.abc import Callable
from math import sqrt
from pathlib import Path

import pytest
import torch
from helpers import complete_state, make_spec, random_block, through_a_file
from tiny_runs import ROOT, train
from torch import Tensor

from torchrl_lite.algo.reward_scale import DeviationScale, ReturnScale
from torchrl_lite.types import Block


class Garage:
    """The reward part of garage's ``NormalizedEnv``, for one environment."""

    def __init__(self) -> None:
        self.reward_alpha = 0.001
        self.reward_mean = 0.0
        self.reward_var = 1.0

    def normalize(self, reward: float) -> float:
        alpha = self.reward_alpha
        self.reward_mean = (1 - alpha) * self.reward_mean + alpha * reward
        self.reward_var = (1 - alpha) * self.reward_var + alpha * (reward - self.reward_mean) ** 2
        return reward / (sqrt(self.reward_var) + 1e-8)


def rewards(rew: Tensor) -> Block:
    """A block ``[T, L, K]`` in which only the rewards matter."""
    block = random_block(make_spec(rew.shape[0]), rew.shape[1], rew.shape[2])
    return block._replace(rew=rew)


def growing(tasks: int, frames: int, copies: int = 1, *, seed: int = 0) -> Tensor:
    """Rewards far from 0 of growing size, different for each task."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(tasks, frames, copies, generator=generator)
    size = torch.linspace(1, 50, frames)[:, None] * torch.arange(1, tasks + 1)[:, None, None]
    return size * (1 + noise)


def test_a_block_counts_as_its_rewards_one_by_one_in_order() -> None:
    """Frame by frame, and within a frame environment by environment."""
    scale, rew = DeviationScale(3), growing(3, 40, 5)
    assert scale.update(rewards(rew[:, :0]), [0, 1, 2]).tolist() == [1, 1, 1]
    factors = scale.update(rewards(rew), [0, 1, 2])
    for task in range(3):
        garage = Garage()
        for frame in rew[task]:
            for reward in frame:
                expected = garage.normalize(reward.item()) / reward.item()
        assert factors[task].item() == pytest.approx(expected, rel=1e-6)
        assert scale.mean[task] == pytest.approx(garage.reward_mean, rel=1e-12)
        assert scale.var[task] == pytest.approx(garage.reward_var, rel=1e-12)


def test_an_inactive_task_keeps_its_deviation() -> None:
    scale = DeviationScale(3)
    scale.update(rewards(growing(3, 50)), [0, 1, 2])
    mean, var = scale.mean.copy(), scale.var.copy()
    before = scale.update(rewards(torch.zeros(3, 0, 1)), [])
    after = scale.update(rewards(growing(3, 50, seed=1)), [2, 0])
    assert (scale.mean[1], scale.var[1]) == (mean[1], var[1])
    assert after[1] == before[1]
    for task in (0, 2):
        assert scale.mean[task] != mean[task]
        assert after[task] != before[task]


@pytest.mark.parametrize(
    "make", [lambda: DeviationScale(2), lambda: ReturnScale(2, 2, discount=0.9, bound=5.0)]
)
def test_a_restored_scale_is_bit_identical_and_its_state_not_modified(
    make: Callable[[], DeviationScale | ReturnScale],
) -> None:
    scale, restored = make(), make()
    scale.update(stream(2, 50, 2), [0, 1])
    state = scale.state_dict()
    saved = through_a_file(state)
    restored.load_state_dict(state)
    block = stream(2, 50, 2, seed=1)
    assert torch.equal(scale.update(block, [0, 1]), restored.update(block, [0, 1]))
    assert all(torch.equal(state[name], saved[name]) for name in saved)


class Flash:
    """FlashSAC without its standard deviation, for one environment: the largest |G| of
    G <- gamma (1 - done) G + r, where ``done`` is that of the previous step."""

    def __init__(self, gamma: float) -> None:
        self.gamma, self.total, self.largest = gamma, 0.0, 0.0

    def add(self, rew: float, done: bool) -> None:
        self.total = self.gamma * (1 - done) * self.total + rew
        self.largest = max(self.largest, abs(self.total))


def stream(tasks: int, frames: int, copies: int, *, seed: int = 0) -> Block:
    """Growing rewards of both signs, in episodes of about five steps."""
    block = rewards(growing(tasks, frames, copies, seed=seed))
    block.first[:, 0] = 1
    return block


def frames_of(block: Block, start: int, end: int) -> Block:
    return Block(*(field[:, start:end] for field in block))


def flash_scale(block: Block, task: int, *, gamma: float, bound: float) -> float:
    largest = 0.0
    for copy in range(block.rew.shape[2]):
        flash = Flash(gamma)
        pairs = zip(block.rew[task, :, copy].tolist(), block.first[task, :, copy], strict=True)
        for rew, first in pairs:
            flash.add(rew, done=bool(first))
        largest = max(largest, flash.largest)
    return bound / largest


@pytest.mark.parametrize(("copies", "gamma"), [(1, 1.0), (4, 0.9)])
def test_the_factor_matches_flashsac_for_every_task(copies: int, gamma: float) -> None:
    block = stream(3, 60, copies)
    block.rew[1].neg_()  # costs, whose largest return is negative
    scale = ReturnScale(3, copies, discount=gamma, bound=7.0)
    factors = scale.update(block, [0, 1, 2])
    expected = [flash_scale(block, task, gamma=gamma, bound=7.0) for task in range(3)]
    assert factors.tolist() == pytest.approx(expected, rel=1e-6)
    assert factors.dtype == torch.float32


def test_episodes_continue_across_epochs() -> None:
    """Bit-identical wherever they are split, also across a saved state."""
    block = stream(2, 60, 3)
    whole = ReturnScale(2, 3, discount=0.99, bound=5.0)
    expected = whole.update(block, [0, 1])
    for cut in (1, 17, 59):
        scale = ReturnScale(2, 3, discount=0.99, bound=5.0)
        scale.update(frames_of(block, 0, cut), [0, 1])
        restored = ReturnScale(2, 3, discount=0.99, bound=5.0)
        restored.load_state_dict(through_a_file(scale.state_dict()))
        for one in (scale, restored):
            assert torch.equal(one.update(frames_of(block, cut, 60), [0, 1]), expected)
            assert (one.returns == whole.returns).all()


def test_a_task_without_any_reward_keeps_a_factor_of_one() -> None:
    block = stream(3, 20, 2)
    block.rew[1] = 0
    factors = ReturnScale(3, 2, discount=0.9, bound=5.0).update(block, [0, 1, 2])
    assert factors[1] == 1
    assert 1 not in factors[[0, 2]].tolist()
    assert ReturnScale(2, 1, discount=0.9, bound=5.0).update(stream(2, 3, 1), []).tolist() == [1, 1]


def test_an_inactive_task_keeps_its_scale_and_restarts_its_return() -> None:
    scale = ReturnScale(3, 2, discount=0.9, bound=5.0)
    before = scale.update(stream(3, 20, 2), [0, 1, 2])
    returns = scale.returns.copy()
    after = scale.update(stream(3, 20, 2, seed=1), [2, 0])
    assert after[1] == before[1] and (scale.returns[1] == returns[1]).all()
    assert (scale.returns[[0, 2]] != returns[[0, 2]]).all()
    back = stream(3, 20, 2, seed=2)  # its first frame begins an episode
    alone = ReturnScale(3, 2, discount=0.9, bound=5.0)
    alone.largest[1] = scale.largest[1]
    assert scale.update(back, [1])[1] == alone.update(back, [1])[1]
    assert (scale.returns[1] == alone.returns[1]).all()


SEQUENTIAL_STAGES = {
    "curriculum__kind": "custom",
    "curriculum__stages": [["reach-v3"], ["drawer-close-v3"]],
    "curriculum__thresholds": [0],
    "curriculum__min_frames_per_stage": 20,
    "curriculum__stage_eval_frames": 20,
    "curriculum__stage_eval_episodes": 1,
}


@pytest.mark.parametrize(
    ("normalization", "curriculum", "frames"),
    [("ema", {}, [60, 60]), ("return", SEQUENTIAL_STAGES, [20, 40])],
    ids=["all tasks", "stages"],
)
def test_a_run_scales_by_the_rewards_it_stored(
    normalization: str, curriculum: dict[str, object], frames: list[int], tmp_path: Path
) -> None:
    """One environment per task, so that rows are stored in the order of the rewards."""
    config = ROOT / "config" / "mt10.json"
    env = {"env__tasks": ["reach-v3", "drawer-close-v3"], "env__num_envs": 2}
    env |= {"env__reward_normalization": normalization, "train__epoch_frames": 20}
    critic = {"net__critic.bound": 8, "sac__discount": 0.95}
    run = train(tmp_path, "--config", config, many=True, **env, **critic, **curriculum)

    buffer = complete_state(run)["buffer"]
    assert [len(rows) for rows in buffer["data"]] == frames
    for rows, scale in zip(buffer["data"], buffer["reward_scale"].tolist(), strict=True):
        raw, firsts = rows[:, -3].tolist(), rows[:, -1].tolist()
        if normalization == "ema":
            garage = Garage()
            expected = [garage.normalize(reward) for reward in raw][-1] / raw[-1]
        else:
            flash = Flash(0.95)
            for reward, first in zip(raw, firsts, strict=True):
                flash.add(reward, done=bool(first))
            expected = 8 / flash.largest
        assert scale == pytest.approx(expected, rel=1e-6)
        assert scale != 1
