"""Exported policies: ONNX against PyTorch, and the Hub with a fake client."""

import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from helpers import error_of, padded_spec
from tiny_runs import one_line, run_starter

from torchrl_lite import load_policy
from torchrl_lite.algo.registry import SECTIONS
from torchrl_lite.config import check
from torchrl_lite.policies import export, onnx, shipped
from torchrl_lite.policies import file as policy_file
from torchrl_lite.policies.file import SUFFIX
from torchrl_lite.policies.policy import Policy
from torchrl_lite.policies.shipped import FOLDER


def policy_of(algo: str = "sac", tasks: int = 3, **net: Any) -> Policy:
    """A policy with random weights; several tasks have different sizes."""
    names = [f"task{index}" for index in range(tasks)]
    tree = {"env": {"suite": "gymnasium", "tasks": names, "num_envs": tasks}, "net": net}
    tree["train"] = {"batch_size": 8 * tasks}
    config = check(tree, algo=algo, sections=SECTIONS, source="test")
    spec = padded_spec([5, 4, 5][:tasks], [2, 2, 1][:tasks])
    torch.manual_seed(0)
    actor = config.agent.make_actor(config.net, spec)
    for parameter in actor.parameters():  # heads start close to 0, biases at 0
        parameter.data.normal_(std=0.5)
    if actor.normalizer is not None:  # so that a few test observations are clipped
        obs = torch.randn(tasks, 1, 50, spec.obs_dim) * torch.linspace(0.1, 1, spec.obs_dim)
        actor.normalizer.update(obs + 0.5, range(tasks))
    return Policy(actor, config, spec._replace(tasks=tuple(names)), frames=0)


NETS: list[tuple[str, int, dict[str, Any]]] = [
    ("sac", 1, {"hidden_shapes": [16, 12]}),
    ("td3", 1, {"hidden_shapes": [16, 16], "norm": "layer", "residual": True}),
    ("sac", 3, {"hidden_shapes": [16, 12], "norm": "layer"}),
    ("sac", 3, {"hidden_shapes": [16, 16], "task_input": "embedding", "residual": True}),
    ("td3", 3, {"hidden_shapes": [16, 12], "kind": "multihead"}),
    ("sac", 3, {"hidden_shapes": [16, 12], "kind": "independent", "norm": "layer"}),
    ("sac", 1, {"hidden_shapes": [16, 12], "normalize_obs": True}),
    ("td3", 3, {"hidden_shapes": [16, 12], "normalize_obs": True}),
]


@pytest.mark.onnx
@pytest.mark.parametrize(("algo", "tasks", "net"), NETS)
def test_onnxruntime_matches_the_policy(
    algo: str, tasks: int, net: dict[str, Any], tmp_path: Path
) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
    policy = policy_of(algo, tasks, **net)
    onnx.write(tmp_path / "policy.onnx", policy)
    session = runtime.InferenceSession(tmp_path / "policy.onnx")
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(30, 5)).astype(np.float32)
    task = rng.integers(0, tasks, 30)
    inputs = {"obs": obs, "task": task} if tasks > 1 else {"obs": obs}
    (act,) = session.run(["act"], inputs)
    assert act.shape == (30, 2)
    for row, index in enumerate(task.tolist()):
        size = policy.act_dims[index]
        expected = policy(obs[row, : policy.obs_dims[index]], index)
        np.testing.assert_allclose(act[row, :size], expected, atol=3e-6)
        assert not act[row, size:].any()
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["act_dims"] == str(list(policy.act_dims))


def test_an_architecture_without_onnx_export_is_a_one_line_error(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the extra [onnx] is not installed")
    message = error_of(onnx.write, tmp_path / "policy.onnx", policy_of(kind="film"))
    assert 'net.kind "film"' in message and "only mlp, multihead, independent" in message
    assert not list(tmp_path.iterdir())


# --- the Hub -------------------------------------------------------------------------------------


class Hub:
    """A fake of the part of huggingface_hub that we use, with repositories in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def HfApi(self) -> "Hub":  # noqa: N802 - its real name
        return self

    def create_repo(self, *, repo_id: str, exist_ok: bool) -> None:
        assert exist_ok
        if repo_id == "other/mine":
            raise PermissionError("403 Forbidden:\n you are not other")
        (self.folder / repo_id).mkdir(parents=True)

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        assert commit_message and (self.folder / repo_id).exists()
        shutil.copytree(folder_path, self.folder / repo_id, dirs_exist_ok=True)

    def hf_hub_download(self, *, repo_id: str, filename: str) -> str:
        path = self.folder / repo_id / filename
        if not path.exists():
            raise FileNotFoundError(f"404 Not Found:\n {repo_id}")
        return str(path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    fake = Hub(tmp_path / "hub")
    module = ModuleType("huggingface_hub")
    vars(module).update(HfApi=fake.HfApi, hf_hub_download=fake.hf_hub_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return fake


def test_a_policy_round_trips_through_the_hub(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--pretrained", "door-open-v3", "--episodes", 1, "--workers", 0]
    assert run_starter("play", *argv, "--push_to_hub", "me/door") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "hf://me/door"
    repository = hub.folder / "me" / "door"
    assert {path.name for path in repository.iterdir()} == {"README.md", "policy.safetensors"}
    text = (repository / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: torchrl_lite\n")
    assert "# door\n" in text
    assert "torchrl-lite play --pretrained hf://me/door --episodes 1" in text

    original, back = load_policy("door-open-v3"), load_policy("hf://me/door")
    obs = np.random.default_rng(0).normal(size=(7, 39))
    assert np.array_equal(original(obs), back(obs))
    assert run_starter("play", "--pretrained", "hf://me/door", *argv[2:]) == 0


def test_hub_mistakes_are_one_line_errors(
    hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["--pretrained", "door-open-v3", "--episodes", 1, "--workers", 0, "--push_to_hub"]
    for name, message in (("door", "not USER/NAME"), ("other/mine", "403 Forbidden: you are")):
        assert run_starter("play", *argv, name) == 2
        one_line(capsys.readouterr().err, "--push_to_hub", message)
    for source, message in (
        ("hf://me/none", "hf://me/none: 404 Not Found: me/none"),
        ("hf://me", "not USER/NAME"),
        ("hf://me/../none", "not USER/NAME"),
    ):
        assert message in error_of(load_policy, source)
    folder = hub.folder / "me" / "pickle"
    folder.mkdir(parents=True)
    shutil.copy(FOLDER / "door-open-v3.md", folder / f"policy{SUFFIX}")
    assert run_starter("play", "--pretrained", "hf://me/pickle") == 1
    one_line(capsys.readouterr().err, "not safetensors")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # not installed
    assert "huggingface_hub is missing" in error_of(load_policy, "hf://me/none")


def test_a_card_on_the_hub_reports_held_out_goals(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []

    def upload(folder: Path, _: str) -> str:
        texts.append((folder / "README.md").read_text())
        return ""

    monkeypatch.setattr(export.hub, "upload", upload)
    evaluation = policy_file.read(shipped.find("door-open-v3")).header.evaluation
    export.push("me/door", load_policy("door-open-v3"), evaluation, evaluation)
    assert "never trained on" in texts[0]
