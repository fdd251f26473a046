"""Policies can be called with NumPy arrays."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import error_of, make_policy
from tiny_runs import train

from torchrl_lite import Policy, load_policy
from torchrl_lite.types import Spec

SPEC = Spec(("a", "b"), obs_dims=(3, 5), act_dims=(2, 1))


@pytest.fixture
def policy() -> Policy:
    """Two tasks of different sizes."""
    return make_policy("sac", SPEC)


@pytest.mark.parametrize(("task", "index"), [("a", 0), ("b", 1)])
def test_actions_match_the_actor(policy: Policy, task: str, index: int) -> None:
    size, acts = SPEC.obs_dims[index], SPEC.act_dims[index]
    obs = np.random.default_rng(0).normal(size=(4, size))
    padded = torch.zeros(1, 4, 5)
    padded[0, :, :size] = torch.from_numpy(obs)
    with torch.no_grad():
        expected = policy.actor.act(padded, torch.tensor([index]))[0, :, :acts].numpy()
    actions = policy(obs, task=task)
    assert (actions.shape, actions.dtype) == ((4, acts), np.float32)
    np.testing.assert_array_equal(actions, expected)
    np.testing.assert_array_equal(actions, policy(obs, task=index))
    np.testing.assert_allclose(policy(obs[2], task=task), expected[2], rtol=1e-5)
    assert policy(obs[:0], task=task).shape == (0, acts)


def test_exploration_noise_follows_the_given_rng(policy: Policy) -> None:
    obs = np.ones((3, 3))
    noisy = [policy(obs, "a", deterministic=False, rng=seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(noisy[0], noisy[1])
    assert not np.array_equal(noisy[0], noisy[2])
    rng = np.random.default_rng(1)
    drawn = [policy(obs, "a", deterministic=False, rng=rng) for _ in range(2)]
    np.testing.assert_array_equal(drawn[0], noisy[0])
    assert not np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(noisy[0][0], noisy[0][1])  # independent for each row


def test_errors_list_the_valid_options(policy: Policy) -> None:
    assert "name one of this policy's tasks: a, b" in error_of(policy, np.zeros(3))
    for task in ("c", 2, -1):
        assert "it has a, b" in error_of(policy, np.zeros(3), task)
    for shape in [(4,), (2, 4), (1, 1, 3)]:
        message = error_of(policy, np.zeros(shape), "a")
        assert "a has observations of shape [3], or [B, 3]" in message


def test_policies_load_by_name_run_or_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(tmp_path, "--task", "reach-v3", algo="td3", td3__noise_std=0.3)
    obs = np.linspace(-1, 1, 39)
    of_run, of_file = load_policy(run), load_policy(str(run / "policy.safetensors"))
    for deterministic in (True, False):
        one, other = (p(obs, deterministic=deterministic, rng=5) for p in (of_run, of_file))
        np.testing.assert_array_equal(one, other)  # including the noise of training
    assert not np.array_equal(of_file(obs), of_file(obs, deterministic=False, rng=5))
    assert (of_file.tasks, of_file.obs_dims, of_file.act_dims) == (("reach-v3",), (39,), (4,))

    monkeypatch.chdir(tmp_path)
    assert load_policy("door-open-v3").tasks == ("door-open-v3",)
    for wrong in ("door-opne-v3", "DOOR-OPEN-V3"):
        message = error_of(load_policy, wrong)
        assert (
            "no such file, run directory or shipped policy; did you mean 'door-open-v3'" in message
        )
    Path("door-open-v3").mkdir()
    assert "is not a run directory" in error_of(load_policy, "door-open-v3")
