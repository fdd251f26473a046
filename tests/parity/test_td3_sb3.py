"""TD3 and DDPG updates and exploration against those of Stable-Baselines3."""

from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from helpers import make_learner, make_spec, random_batch
from textbook import ACT, HIDDEN, OBS, in_textbook_layout
from torch import Tensor, nn

from torchrl_lite.env.make import make_env
from torchrl_lite.types import Noise

sb3 = pytest.importorskip("stable_baselines3")
BATCH = 32
LOW, HIGH = np.array([0, -1], np.float32), np.array([10, 3], np.float32)
CONFIG = {"tau": 0.1, "noise_std": 0.3, "target_noise": 0.4, "target_noise_clip": 0.3}


class Recorder(gym.Env):
    """Records the actions that are taken."""

    observation_space = Box(-np.inf, np.inf, (OBS,), np.float32)
    action_space = Box(LOW, HIGH)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.taken: list[np.ndarray] = []

    def reset(self, **_: Any) -> tuple[np.ndarray, dict]:
        return np.zeros(OBS, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.taken.append(action)
        return np.zeros(OBS, np.float32), 0.0, False, False, {}


@pytest.fixture(autouse=True)
def float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their policies would convert every observation to float32."""
    monkeypatch.setattr(sb3.common.policies, "preprocess_obs", lambda obs, *_, **__: obs)


def make_pair(algo: str, delay: int = 2) -> tuple[Any, Any]:
    """Our learner, and an agent of Stable-Baselines3 with its weights; both in float64."""
    learner = make_learner(algo, make_spec(obs_dim=OBS, act_dim=ACT), hidden=HIDDEN,
                           dtype=torch.float64, policy_delay=delay, **CONFIG)  # fmt: skip
    own = {"policy_delay": delay, "target_policy_noise": 0.4, "target_noise_clip": 0.3}
    agent = getattr(sb3, algo.upper())(
        "MlpPolicy", Recorder(), learning_rate=3e-4, tau=0.1, device="cpu", buffer_size=10,
        policy_kwargs={"net_arch": list(HIDDEN)}, **(own if algo == "td3" else {}),
    )  # fmt: skip
    agent.set_logger(sb3.common.logger.Logger(None, []))
    agent.policy.double()
    for theirs, mine in zip(networks(agent.policy), values(learner), strict=True):
        for parameter, value in zip(theirs.parameters(), mine, strict=True):
            parameter.data.copy_(value)
    return learner, agent


def networks(policy: Any) -> list[nn.Module]:
    return [policy.actor, policy.critic, policy.actor_target, policy.critic_target]


def values(learner: Any) -> list[list[Tensor]]:
    """Weights and biases of the same networks, in the layout of plain layers."""
    parts = [learner.actor, learner.critic, learner.target_actor, learner.target]
    return [in_textbook_layout(list(part.parameters()), tasks=1) for part in parts]


@pytest.mark.parametrize(
    ("algo", "delay"), [("td3", 1), ("td3", 2), ("td3", 3), ("ddpg", 1)], ids=str
)
def test_seven_updates_match_stable_baselines3(algo: str, delay: int) -> None:
    """An Adam step is 3e-4. Theirs sums the critics' losses, which changes it only by epsilon."""
    learner, agent = make_pair(algo, delay)
    for step in range(7):
        batch = random_batch(learner.spec, batch_size=BATCH, seed=step)
        data = SimpleNamespace(
            observations=batch.obs[0], actions=batch.act[0], next_observations=batch.next_obs[0],
            rewards=batch.rew[0][:, None], dones=(batch.discount[0][:, None] == 0).double(),
            discounts=None,
        )  # fmt: skip
        agent.replay_buffer = SimpleNamespace(sample=lambda *_, data=data, **__: data)
        torch.manual_seed(step)
        drawn = torch.empty_like(batch.act).normal_()
        torch.manual_seed(step)
        agent.train(1, BATCH)
        learner.update(batch, Noise(batch.rew, torch.stack((drawn, drawn))), learner.variant(step))
        for theirs, mine in zip(networks(agent.policy), values(learner), strict=True):
            for parameter, value in zip(theirs.parameters(), mine, strict=True):
                torch.testing.assert_close(value, parameter.detach(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("algo", ["td3", "ddpg"])
def test_exploration_noise_is_scaled_to_the_action_bounds_like_theirs(algo: str) -> None:
    gym.register("Recorder-v0", Recorder, max_episode_steps=500)
    env = make_env("gymnasium", "Recorder-v0")
    del gym.registry["Recorder-v0"]
    env.reset()
    learner, agent = make_pair(algo)
    rng = np.random.default_rng(0)
    task, at_the_bound = torch.tensor([0]), 0
    for _ in range(50):
        obs, noise = rng.normal(size=(1, OBS)), rng.normal(size=(1, ACT)) * 3
        agent._last_obs = obs
        theirs, stored = agent._sample_action(0, lambda noise=noise: 0.3 * noise)
        with torch.no_grad():
            act = learner.actor.explore(torch.tensor(obs)[None], task, torch.tensor(noise)[None])
        env.step(act[0, 0].numpy().astype(np.float32))
        np.testing.assert_allclose(act[0, 0], stored[0], atol=1e-6)
        np.testing.assert_allclose(env.unwrapped._env.unwrapped.taken[-1], theirs[0], atol=1e-5)
        at_the_bound += int((np.abs(stored) == 1).any())
    assert 0 < at_the_bound < 50
