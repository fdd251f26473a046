"""The TD error on evaluation episodes, with each algorithm's own target."""

from typing import Any

import numpy as np
import pytest
import torch
from helpers import CPU, make_learner, make_spec, random_batch, random_block, random_noise

from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.collector.collector import Collector
from torchrl_lite.collector.episode import EpisodeStats
from torchrl_lite.collector.setup import RolloutSetup
from torchrl_lite.config import EnvConfig
from torchrl_lite.env.make import make_env
from torchrl_lite.env.make import make_spec as spec_of
from torchrl_lite.training.probes import td_error, validate

TASKS = ["Pendulum-v1", "HalfCheetah-v5"]


@pytest.mark.parametrize("algo", ["sac", "td3", "ddpg"])
@pytest.mark.parametrize("tasks", [[0, 1], [1]])
def test_the_td_error_is_the_critic_loss_of_the_next_update(algo: str, tasks: list[int]) -> None:
    learner = make_learner(algo, make_spec(2), dtype=torch.float64)
    if algo == "sac":
        learner.log_alpha.data += torch.arange(2)
    for step in range(2):  # so that targets differ from critics
        batch = random_batch(learner.spec, seed=step)
        learner.update(batch, random_noise(batch), learner.variant(1))
    batch = random_batch(learner.spec, tasks=tasks, seed=5)
    noise = random_noise(batch, seed=5)
    before = learner.state_dict()["critic.body.head.weight"].clone()
    error = learner.critic_loss(batch, noise).detach()
    assert torch.equal(learner.state_dict()["critic.body.head.weight"], before)
    metrics = learner.update(batch, noise, learner.variant(0))
    losses = [metrics[name] for name in ("q1_loss", "q2_loss") if name in metrics]
    torch.testing.assert_close(error, torch.stack(losses).mean(0))


def test_validation_draws_the_same_noise_every_time() -> None:
    learner = make_learner("sac", make_spec(), dtype=torch.float64)
    batch = random_batch(learner.spec)
    first = validate(learner, batch)
    torch.rand(3)
    assert torch.equal(validate(learner, batch), first)
    assert not first.requires_grad


def test_evaluation_uses_one_step_targets_with_the_learners_discount() -> None:
    """The mean over tasks of the learner's error on the rows kept from each task's episodes."""
    spec = make_spec(2, obs_dim=1, act_dim=1)
    learner = make_learner("td3", spec, discount=0.75)
    seen = []
    learner.critic_loss = lambda batch, _: seen.append(batch) or batch.rew.mean(1)
    buffer = ReplayBuffer(spec, 10, CPU)
    buffer.add_block(random_block(spec, 5), [0, 1])  # tasks without transitions are ignored
    buffer.reward_scale.copy_(torch.tensor([1.0, 0.5]))
    rows = np.array([[0, 0, 0, 4, 1, 1], [0, 0, 0, 8, 0, 1]], np.float32)
    stats = EpisodeStats(0, ret=0.0, length=2, success=None, sample=rows)
    error = td_error({0: [stats], 1: [stats, stats]}, learner, buffer)
    assert error == (6 + 3) / 2
    assert [batch.discount.tolist() for batch in seen] == [[[0.75, 0]], [[0.75, 0] * 2]]


def test_an_evaluation_keeps_evenly_spaced_transitions() -> None:
    """Every third of Pendulum's 120 steps, replayed here."""
    config: Any = EnvConfig(
        suite="gymnasium", tasks=TASKS, num_envs=2, group_size=2, max_episode_frames=120
    )
    spec = spec_of(config)
    actor = make_learner("sac", spec).actor
    with Collector(RolloutSetup(config, spec, actor, seed=1), epoch_frames=4) as collector:
        pendulum, cheetah = collector.evaluate(actor, [0, 1], 1)
    assert pendulum.sample is not None and cheetah.sample is not None
    assert pendulum.sample.shape == cheetah.sample.shape == (40, 17 + 6 + 17 + 3)

    buffer = ReplayBuffer(spec, 10, CPU)
    buffer.reward_scale[0] = 0.5
    rows = torch.from_numpy(pendulum.sample)[None]
    batch = buffer.batch(rows, torch.tensor([0]), discount=0.9)
    for values, size in ((batch.obs, 3), (batch.next_obs, 3), (batch.act, 1)):
        assert (values[..., size:] == 0).all() and (values[0, :, :size].std(0) > 0).all()
    env = make_env("gymnasium", TASKS[0])
    for obs, act, rew, next_obs in zip(*(field[0].numpy() for field in batch[:4]), strict=True):
        env.reset(seed=0)
        inner = env.unwrapped._env.unwrapped
        inner.state = np.array([np.arctan2(obs[1], obs[0]), obs[2]])
        after, reward, *_ = env.step(act[:1])
        np.testing.assert_allclose(after, next_obs[:3], atol=1e-4)
        assert 0.5 * reward == pytest.approx(rew, abs=1e-4)
    assert (batch.discount == torch.tensor(0.9)).all()
    assert (rows[..., -1] == 1).all()  # none continues in the next


def test_each_task_keeps_fifty_transitions_of_its_own_horizon() -> None:
    tasks = ["Pendulum-v1", "MountainCarContinuous-v0"]  # 200 and 999 steps
    config: Any = EnvConfig(suite="gymnasium", tasks=tasks, num_envs=2, group_size=2)
    actor = make_learner("sac", spec_of(config)).actor
    with Collector(RolloutSetup(config, spec_of(config), actor, seed=1), epoch_frames=4) as one:
        assert [len(stats.sample) for stats in one.evaluate(actor, [0, 1], 1)] == [50, 50]
