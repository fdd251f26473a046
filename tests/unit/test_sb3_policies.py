"""Stable-Baselines3 agents act in ``play.py`` as in their own ``predict``."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import error_of
from resume.attempt import write_zip

from torchrl_lite.policies.load import load_policy
from torchrl_lite.policies.policy import Policy


def linear(name: str, size_in: int, size_out: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(size_in + size_out)
    return {
        f"{name}.weight": torch.randn(size_out, size_in, generator=generator) / size_in**0.5,
        f"{name}.bias": torch.randn(size_out, generator=generator),
    }


SAC = {
    **linear("actor.latent_pi.0", 39, 4),
    **linear("actor.latent_pi.2", 4, 4),
    **linear("actor.mu", 4, 4),
    **linear("actor.log_std", 4, 4),
}
"""Hidden layers as wide as the action, so the two heads could be mistaken for stacked layers."""


def actions(policy: Policy, obs: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return policy.actor.act(torch.from_numpy(obs)[None], torch.tensor([0]))[0].numpy()


@pytest.mark.parametrize(
    ("algo", "task"), [("sac", "Pusher-v5"), ("td3", "Pendulum-v1"), ("ddpg", "Pendulum-v1")]
)
def test_actions_match_predict(algo: str, task: str, tmp_path: Path) -> None:
    sb3 = pytest.importorskip("stable_baselines3")
    net = {"net_arch": [32, 24]}
    model = getattr(sb3, algo.upper())("MlpPolicy", task, seed=3, device="cpu", policy_kwargs=net)
    for parameter in model.policy.parameters():  # biases too
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.num_timesteps = 1234
    model.save(tmp_path / "agent.zip")
    policy = load_policy(tmp_path / "agent.zip", task=task)
    assert (policy.frames, policy.seed, policy.config.algo) == (1234, 1, algo)
    space = model.action_space
    obs = np.random.default_rng(0).normal(size=(200, policy.obs_dims[0])).astype(np.float32)
    expected, _ = model.predict(obs, deterministic=True)
    center, half = (space.high + space.low) / 2, (space.high - space.low) / 2
    np.testing.assert_allclose(center + half * actions(policy, obs), expected, rtol=0, atol=1e-6)
    if algo != "sac":  # a zip names no noise
        assert np.array_equal(policy(obs), policy(obs, deterministic=False, rng=0))


def test_state_dependent_exploration_is_rejected(tmp_path: Path) -> None:
    """gSDE clips the mean action, ours does not."""
    sb3 = pytest.importorskip("stable_baselines3")
    sb3.SAC("MlpPolicy", "Pendulum-v1", use_sde=True, device="cpu").save(tmp_path / "agent.zip")
    assert "gSDE" in error_of(load_policy, tmp_path / "agent.zip", task="Pendulum-v1")


def test_layers_are_identified_by_name(tmp_path: Path) -> None:
    data = {"num_timesteps": 77, "policy_kwargs": {"activation_fn": str(torch.nn.ReLU)}}
    write_zip(tmp_path / "agent.zip", data, SAC)
    policy = load_policy(tmp_path / "agent.zip", task="drawer-close-v3")
    obs = np.random.default_rng(0).normal(size=(50, 39)).astype(np.float32)
    x = torch.from_numpy(obs)
    for name in ("latent_pi.0", "latent_pi.2"):
        x = torch.relu(x @ SAC[f"actor.{name}.weight"].T + SAC[f"actor.{name}.bias"])
    mean = x @ SAC["actor.mu.weight"].T + SAC["actor.mu.bias"]
    np.testing.assert_allclose(actions(policy, obs), torch.tanh(mean).numpy(), atol=1e-6)
    assert policy.config.env.suite == "metaworld"


@pytest.mark.parametrize(
    ("task", "needle"),
    [
        (None, "--task"),
        ("drawer-clsoe-v3", "did you mean 'drawer-close-v3'"),
        ("Pendulum-v1", "observations of 39 and actions of 4 dimensions; Pendulum-v1 has 3 and 1"),
    ],
)
def test_the_task_is_required_and_must_match(task: str | None, needle: str, tmp_path: Path) -> None:
    write_zip(tmp_path / "agent.zip", {}, SAC)
    assert needle in error_of(load_policy, tmp_path / "agent.zip", task=task)


@pytest.mark.parametrize(
    ("tensors", "data", "needle"),
    [
        (linear("actor.mu", 39, 4), {}, "not a plain network"),  # no hidden layer
        (SAC | linear("actor.features_extractor.linear.0", 39, 39), {}, "not a plain network"),
        ({k: v for k, v in SAC.items() if k != "actor.mu.bias"}, {}, "not a plain network"),
        (SAC | linear("actor.latent_pi.2", 5, 4), {}, "do not fit each other"),
        (SAC | linear("actor.log_std", 4, 3), {}, "do not fit each other"),
        (SAC | {"actor.mu.bias": torch.zeros(4).double()}, {}, "float32"),
        (SAC, {"policy_kwargs": {"activation_fn": "torch.nn.Tanh"}}, "Tanh"),
        (SAC, {"policy_kwargs": {"activation_fn": str(torch.nn.LeakyReLU)}}, "only ReLU is"),
        (SAC, {"policy_kwargs": {"activation_fn": str(torch.nn.ReLU6)}}, "only ReLU is"),
    ],
)
def test_unsupported_agents_are_rejected(
    tensors: dict[str, torch.Tensor], data: dict[str, Any], needle: str, tmp_path: Path
) -> None:
    path = tmp_path / "agent.zip"
    write_zip(path, data, tensors)
    message = error_of(load_policy, path, task="drawer-close-v3")
    assert needle in message and str(path) in message
