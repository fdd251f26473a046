"""Stable-Baselines3 agents act in ``play.py`` as in their own ``predict``."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from helpers import error_of

from torchrl_lite.errors import CheckpointError
from torchrl_lite.policies.load import load_policy
from torchrl_lite.policies.policy import Policy
from torchrl_lite.policies.stable_baselines3 import read_sb3_policy


def write_zip(
    path: Path, tensors: dict[str, torch.Tensor], data: dict[str, Any] | None = None
) -> Path:
    content = io.BytesIO()
    torch.save(tensors, content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps(data or {}))
        archive.writestr("policy.pth", content.getvalue())
    return path


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
    kwargs = {"net_arch": [32, 24]}
    model = getattr(sb3, algo.upper())("MlpPolicy", task, seed=3, device="cpu",
                                       policy_kwargs=kwargs)  # fmt: skip
    for parameter in model.policy.parameters():  # biases too
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.num_timesteps = 1234
    model.save(tmp_path / "agent.zip")

    policy = load_policy(tmp_path / "agent.zip", task=task)

    assert (policy.frames, policy.seed, policy.config.algo) == (1234, 1, algo)
    stock = gym.make(task)
    space: Any = stock.action_space
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(200, *stock.observation_space.shape)).astype(np.float32)
    expected = model.predict(obs, deterministic=True)[0]
    center, half = (space.high + space.low) / 2, (space.high - space.low) / 2
    np.testing.assert_allclose(center + half * actions(policy, obs), expected, rtol=0, atol=1e-6)
    stock.close()


def test_state_dependent_exploration_is_rejected(tmp_path: Path) -> None:
    """gSDE clips the mean action, ours does not."""
    sb3 = pytest.importorskip("stable_baselines3")
    sb3.SAC("MlpPolicy", "Pendulum-v1", use_sde=True, device="cpu").save(tmp_path / "agent.zip")
    with pytest.raises(CheckpointError, match="gSDE"):
        read_sb3_policy((tmp_path / "agent.zip").read_bytes(), tmp_path)


def test_layers_are_identified_by_name(tmp_path: Path) -> None:
    data = {"num_timesteps": 77, "policy_kwargs": {"activation_fn": str(torch.nn.ReLU)}}
    path = write_zip(tmp_path / "agent.zip", SAC, data)
    policy = load_policy(path, task="drawer-close-v3")
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
    path = write_zip(tmp_path / "agent.zip", SAC)
    assert needle in error_of(load_policy, path, task=task)


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
        *(
            (SAC, {"policy_kwargs": {"activation_fn": str(one)}}, "only ReLU is supported")
            for one in (torch.nn.LeakyReLU, torch.nn.ReLU6, torch.nn.RReLU)
        ),
    ],
)
def test_unsupported_agents_are_rejected(
    tensors: dict[str, torch.Tensor], data: dict[str, Any], needle: str, tmp_path: Path
) -> None:
    path = write_zip(tmp_path / "agent.zip", tensors, data)
    message = error_of(load_policy, path, task="drawer-close-v3")
    assert needle in message and str(path) in message
