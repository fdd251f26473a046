"""The running reward scale against garage's formulas, one reward at a time."""

from math import sqrt
from pathlib import Path

import pytest
import torch
from helpers import complete_state, make_spec, random_block, through_a_file
from torch import Tensor

from torchrl_lite.launch import main
from torchrl_lite.reward_scale import RewardScale
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
    """A block ``[T, L, K]`` of which only the rewards matter."""
    block = random_block(make_spec(rew.shape[0]), rew.shape[1], rew.shape[2])
    return block._replace(rew=rew)


def growing(tasks: int, frames: int, copies: int = 1, *, seed: int = 0) -> Tensor:
    """Rewards far from 0 whose size grows, different for each task."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(tasks, frames, copies, generator=generator)
    size = torch.linspace(1, 50, frames)[:, None] * torch.arange(1, tasks + 1)[:, None, None]
    return size * (1 + noise)


def test_the_scale_is_garages_after_every_step() -> None:
    scale, garage = RewardScale(1), Garage()
    for rew in growing(1, 300)[0, :, 0]:
        (factor,) = scale.update(rewards(rew.view(1, 1, 1)), [0])
        expected = garage.normalize(rew.item())
        assert (factor * rew).item() == pytest.approx(expected, rel=1e-6)


def test_a_block_counts_as_its_rewards_one_by_one_in_the_order_they_came() -> None:
    """Frames in order, and the environments of a frame one after the other."""
    scale, rew = RewardScale(3), growing(3, 40, 5)
    factors = scale.update(rewards(rew), [0, 1, 2])
    for task in range(3):
        garage = Garage()
        for frame in rew[task]:
            for reward in frame:
                expected = garage.normalize(reward.item()) / reward.item()
        assert factors[task].item() == pytest.approx(expected, rel=1e-6)
        assert scale.mean[task] == pytest.approx(garage.reward_mean, rel=1e-12)
        assert scale.var[task] == pytest.approx(garage.reward_var, rel=1e-12)


def test_before_any_reward_the_scale_is_one() -> None:
    factors = RewardScale(2).update(rewards(torch.zeros(2, 0, 1)), [0, 1])
    torch.testing.assert_close(factors, torch.ones(2))


def test_a_task_that_takes_no_part_does_not_move() -> None:
    scale = RewardScale(3)
    scale.update(rewards(growing(3, 50)), [0, 1, 2])
    mean, var = scale.mean.copy(), scale.var.copy()
    before = scale.update(rewards(torch.zeros(3, 0, 1)), [])
    after = scale.update(rewards(growing(3, 50, seed=1)), [0, 2])

    assert (scale.mean[1], scale.var[1]) == (mean[1], var[1])
    assert after[1] == before[1]
    for task in (0, 2):
        assert scale.mean[task] != mean[task]
        assert after[task] != before[task]


def test_tasks_in_any_order_are_the_same() -> None:
    one, other, rew = RewardScale(3), RewardScale(3), growing(3, 50)
    assert torch.equal(one.update(rewards(rew), [0, 2]), other.update(rewards(rew), [2, 0]))


def test_a_saved_state_goes_on_to_the_last_bit() -> None:
    scale, restored = RewardScale(2), RewardScale(2)
    scale.update(rewards(growing(2, 100)), [0, 1])
    restored.load_state_dict(through_a_file(scale.state_dict()))
    block = rewards(growing(2, 100, seed=1))
    assert torch.equal(scale.update(block, [0, 1]), restored.update(block, [0, 1]))


def test_going_on_leaves_the_state_it_was_restored_from_alone() -> None:
    scale = RewardScale(2)
    scale.update(rewards(growing(2, 100)), [0, 1])
    state = through_a_file(scale.state_dict())
    mean = state["mean"].clone()
    restored = RewardScale(2)
    restored.load_state_dict(state)
    restored.update(rewards(growing(2, 100)), [0, 1])
    assert torch.equal(state["mean"], mean)


ONE_AFTER_THE_OTHER = {
    "curriculum.kind": "custom",
    "curriculum.stages": '[["reach-v3"], ["drawer-close-v3"]]',
    "curriculum.thresholds": "[0]",
    "curriculum.min_frames_per_stage": 20,
    "curriculum.stage_eval_frames": 20,
    "curriculum.stage_eval_episodes": 1,
}


@pytest.mark.parametrize(
    ("more", "frames"), [({}, [60, 60]), (ONE_AFTER_THE_OTHER, [20, 40])], ids=["all", "stages"]
)
def test_a_run_samples_with_the_scale_of_the_rewards_that_it_stored(
    more: dict[str, object], frames: list[int], tmp_path: Path
) -> None:
    """One environment per task, so that rows stand in the order in which rewards came."""
    settings = {
        "env.tasks": '["reach-v3", "drawer-close-v3"]',
        "env.num_envs": 2,
        "env.max_episode_frames": 15,
        "env.reward_normalization": "ema",
        "net.hidden_shapes": "[8]",
        "replay_buffer.size": 200,
        "train.num_epochs": 2,
        "train.pretrain_epochs": 1,
        "train.epoch_frames": 20,
        "train.opt_steps": 2,
        "train.batch_size": 4,
        "train.final_eval_episodes": 1,
        "system.workers": 0,
        "system.threads": 1,
    } | more
    config = Path(__file__).parents[2] / "config" / "mt10.json"
    argv = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    argv += ["--config", str(config), "--log_dir", str(tmp_path)]
    assert main("sac", argv, multi_task=True) == 0

    (params,) = tmp_path.rglob("params.json")
    buffer = complete_state(params.parent)["buffer"]
    assert [len(rows) for rows in buffer["data"]] == frames
    for rows, scale in zip(buffer["data"], buffer["reward_scale"].tolist(), strict=True):
        raw, garage = rows[:, -2].tolist(), Garage()
        scaled = [garage.normalize(reward) for reward in raw]
        assert scale == pytest.approx(scaled[-1] / raw[-1], rel=1e-6)
        assert scale != 1
