"""Running reward scales match the formulas of garage and FlashSAC, one reward at a time."""

from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from statistics import fmean

import pytest
import torch
from helpers import complete_state, make_spec, random_block, through_a_file
from tiny_runs import ROOT, assert_same_bits, train
from torch import Tensor

from torchrl_lite.algo.reward_scale import DeviationScale, ReturnScale
from torchrl_lite.types import Block


def garage(rewards: Sequence[float]) -> tuple[float, float, float]:
    """The factor of the last reward, the mean and the variance, as in garage's ``NormalizedEnv`` of
    one environment."""
    alpha, mean, var = 0.001, 0.0, 1.0
    for reward in rewards:
        mean = (1 - alpha) * mean + alpha * reward
        var = (1 - alpha) * var + alpha * (reward - mean) ** 2
    return 1 / (sqrt(var) + 1e-8), mean, var


def largest_return(rewards: Sequence[float], firsts: Sequence[float], *, gamma: float) -> float:
    """FlashSAC without its standard deviation, for one environment: the largest |G| of
    G <- gamma (1 - done) G + r, where ``done`` is that of the previous step."""
    total = largest = 0.0
    for reward, done in zip(rewards, firsts, strict=True):
        total = gamma * (1 - done) * total + reward
        largest = max(largest, abs(total))
    return largest


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


@pytest.mark.parametrize("copies", [1, 5])
def test_every_environment_counts_its_own_rewards_in_order(copies: int) -> None:
    scale, rew = DeviationScale(3, copies), growing(3, 40, copies)
    assert scale.update(rewards(rew[:, :0]), [0, 1, 2]).tolist() == [1, 1, 1]
    factors = scale.update(rewards(rew), [0, 1, 2])
    for task in range(3):
        alone = [garage(one) for one in rew[task].T.tolist()]
        assert scale.mean[task] == pytest.approx([mean for _, mean, _ in alone], rel=1e-12)
        assert scale.var[task] == pytest.approx([var for _, _, var in alone], rel=1e-12)
        variance = fmean(var for _, _, var in alone)
        assert factors[task].item() == pytest.approx(1 / (sqrt(variance) + 1e-8), rel=1e-6)


@pytest.mark.parametrize(("others", "copies", "kept"), [(2, 4, 2), (4, 2, 2), (3, 1, 1)])
def test_environments_take_over_the_deviations_of_others(
    others: int, copies: int, kept: int
) -> None:
    scale, rew = DeviationScale(2, copies), growing(1, 40, others)[0]
    scale.recall(1, rew.double().numpy(), torch.zeros(40, others).numpy())
    variance = fmean(garage(one)[2] for one in rew.T[:kept].tolist())
    assert scale.factors()[0] == 1
    assert scale.factors()[1].item() == pytest.approx(1 / (sqrt(variance) + 1e-8), rel=1e-6)


def test_the_factor_does_not_depend_on_the_number_of_environments() -> None:
    """Environments that go through the same episodes at the same time are as one."""
    episode = torch.linspace(-5, 10, 500).repeat(8)[None, :, None]
    alone, many = (
        DeviationScale(1, copies).update(rewards(episode.repeat(1, 1, copies)), [0])
        for copies in (1, 50)
    )
    torch.testing.assert_close(alone, many)


def test_a_rare_reward_is_not_scaled_beyond_what_it_was_at_first() -> None:
    """garage divides a reward by a deviation that has just seen it. Here, the reward is still in
    the buffer when thousands of zeros have let the deviation decay."""
    scale, rare = DeviationScale(1, 1), torch.zeros(1, 40_000, 1)
    rare[0, 2000] = 100
    factor = scale.update(rewards(rare), [0])
    assert sqrt(scale.var[0, 0]) < 1e-6
    assert 100 * factor.item() == pytest.approx(1 / sqrt(1e-3), rel=2e-3)


def test_a_restored_deviation_is_bit_identical_and_its_state_not_modified() -> None:
    scale, restored = DeviationScale(2, 1), DeviationScale(2, 1)
    scale.update(rewards(growing(2, 50)), [0, 1])
    state = scale.state_dict()
    saved = through_a_file(state)
    restored.load_state_dict(state)
    assert (restored.largest == scale.largest).all()
    block = rewards(growing(2, 50, seed=1))
    assert torch.equal(scale.update(block, [0, 1]), restored.update(block, [0, 1]))
    assert_same_bits(state, saved)


def stream(tasks: int, frames: int, copies: int, *, seed: int = 0) -> Block:
    """Growing rewards of both signs, in episodes of about five steps."""
    block = rewards(growing(tasks, frames, copies, seed=seed))
    block.first[:, 0] = 1
    return block


@pytest.mark.parametrize(("copies", "gamma"), [(1, 1.0), (4, 0.9)])
def test_the_factor_matches_flashsac_for_every_task(copies: int, gamma: float) -> None:
    block = stream(3, 60, copies)
    block.rew[1].neg_()  # costs, whose largest return is negative
    scale = ReturnScale(3, copies, discount=gamma, bound=7.0)
    factors = scale.update(block, [0, 1, 2])
    for task in range(3):
        streams = zip(block.rew[task].T.tolist(), block.first[task].T.tolist(), strict=True)
        largest = max(largest_return(rew, first, gamma=gamma) for rew, first in streams)
        assert factors[task].item() == pytest.approx(7 / largest, rel=1e-6)
    assert factors.dtype == torch.float32


def test_episodes_continue_across_epochs() -> None:
    """Bit-identical wherever they are split, also across a saved state."""
    block = stream(2, 60, 3)
    whole = ReturnScale(2, 3, discount=0.99, bound=5.0)
    expected = whole.update(block, [0, 1])
    for cut in (1, 17, 59):
        first, rest = (Block(*(f[:, part] for f in block)) for part in (slice(cut), slice(cut, 60)))
        scale, restored = (ReturnScale(2, 3, discount=0.99, bound=5.0) for _ in range(2))
        scale.update(first, [0, 1])
        restored.load_state_dict(through_a_file(scale.state_dict()))
        for one in (scale, restored):
            assert torch.equal(one.update(rest, [0, 1]), expected)
            assert (one.returns == whole.returns).all()


def test_a_task_without_any_reward_keeps_a_factor_of_one() -> None:
    block = stream(3, 20, 2)
    block.rew[1] = 0
    factors = ReturnScale(3, 2, discount=0.9, bound=5.0).update(block, [0, 1, 2])
    assert factors[1] == 1
    assert 1 not in factors[[0, 2]].tolist()
    assert ReturnScale(2, 1, discount=0.9, bound=5.0).update(stream(2, 3, 1), []).tolist() == [1, 1]


def test_an_inactive_task_keeps_its_scale_and_restarts_its_return() -> None:
    scale, alone = (ReturnScale(3, 2, discount=0.9, bound=5.0) for _ in range(2))
    before = scale.update(stream(3, 20, 2), [0, 1, 2])
    larger = stream(3, 20, 2, seed=1)
    larger.rew.mul_(3)
    after = scale.update(larger, [2, 0])
    assert (after == before).tolist() == [False, True, False]
    back = stream(3, 20, 2, seed=2)  # its first frame begins an episode
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
    [("ema", SEQUENTIAL_STAGES, [20, 40]), ("return", {}, [60, 60])],
    ids=["stages", "all tasks"],
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
            expected = garage(raw)[0]
        else:
            expected = 8 / largest_return(raw, firsts, gamma=0.95)
        assert scale == pytest.approx(expected, rel=1e-6)
        assert scale != 1
