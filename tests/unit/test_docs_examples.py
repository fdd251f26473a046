"""The code examples in the docs on demonstrations and exported policies run."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import ROOT, run_starter

from torchrl_lite import load_policy
from torchrl_lite.network.layers import EnsembleLinear
from torchrl_lite.policies import file as policy_file
from torchrl_lite.policies.policy import Policy
from torchrl_lite.policies.shipped import FOLDER, names


def python_blocks(page: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_demonstrations_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer episodes; training runs in a subprocess because it sets the number of threads."""
    text = (ROOT / "docs" / "demonstrations.md").read_text(encoding="utf-8")
    (flags,) = re.findall(r"python starter/demos.py (.*) --episodes 50$", text, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    assert run_starter("demos", *flags.split(), "--episodes", 1) == 0
    script = "\n".join(python_blocks("demonstrations.md"))
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=240, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == "obs (500, 39)"
    assert result.stdout.splitlines()[-1] == "10"


@pytest.mark.onnx
def test_the_onnx_example_matches_the_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
    monkeypatch.chdir(tmp_path)
    argv = ["--pretrained", "door-open-v3", "--episodes", 1, "--workers", 1]
    assert run_starter("play", *argv, "--export", "policy.onnx") == 0
    namespace: dict[str, Any] = {}
    exec(python_blocks("export.md")[0], namespace)
    expected = load_policy("door-open-v3")(namespace["obs"])
    np.testing.assert_allclose(namespace["act"], expected, atol=1e-6)


def assert_numpy_example_matches(path: Path, policy: Policy) -> None:
    """Asserts that the NumPy code in export.md acts like the policy."""
    namespace: dict[str, Any] = {}
    exec(python_blocks("export.md")[1], namespace)
    tensors, header = namespace["load"](path)
    for index, size in enumerate(policy.obs_dims):
        obs = np.random.default_rng(index).normal(size=(20, size)).astype(np.float32)
        act = namespace["act"](tensors, header, obs, index)
        np.testing.assert_allclose(act, policy(obs, index), atol=1e-4)


@pytest.mark.parametrize("name", names())
def test_numpy_example_matches_shipped_policies(name: str) -> None:
    assert_numpy_example_matches(FOLDER / f"{name}.safetensors", load_policy(name))


@pytest.mark.parametrize(
    "changes",
    [
        {"norm": "layer", "residual": True},
        {"kind": "multihead"},
        {"kind": "independent"},
        {"normalize_obs": True},
    ],
)
def test_numpy_example_matches_other_networks(changes: dict[str, Any], tmp_path: Path) -> None:
    shipped = load_policy("mt3_easy")
    net = shipped.config.net.model_copy(update={"hidden_shapes": [16, 16], **changes})
    config = shipped.config.model_copy(update={"net": net})
    torch.manual_seed(0)
    actor = config.agent.make_actor(config.net, shipped.spec)
    for module in actor.modules():
        if isinstance(module, EnsembleLinear):
            module.weight.data.normal_(std=0.3)
            module.bias.data.normal_()
    if actor.normalizer is not None:
        actor.normalizer.update(0.1 * torch.randn(3, 1, 50, 39) + 0.5, range(3))
    path = tmp_path / "policy.safetensors"
    policy = Policy(actor, config, shipped.spec, 0)
    policy_file.write(path, policy, [])
    assert_numpy_example_matches(path, policy)
