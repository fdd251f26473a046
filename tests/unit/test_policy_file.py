"""Policy files store actors bit-identically; invalid ones fail with a one-line error."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import damaged, error_of, make_policy, make_spec, newest_checkpoint, padded_spec
from safetensors.torch import load, save
from tiny_runs import train

from torchrl_lite.errors import CheckpointError, UserError
from torchrl_lite.policies import file as policy_file
from torchrl_lite.policies.evaluate import evaluate, summary
from torchrl_lite.policies.file import SUFFIX, TaskEvaluation
from torchrl_lite.policies.load import load_policy
from torchrl_lite.policies.policy import Policy
from torchrl_lite.types import Spec


def write(path: Path, spec: Spec | None = None, *, algo: str = "sac", **net: Any) -> Policy:
    """Writes a policy file with random weights; returns its policy."""
    policy = make_policy(algo, spec or make_spec(), **net)
    task = policy.tasks[0]
    evaluation = [TaskEvaluation(task=task, returns=[1.5], lengths=[3], successes=[True])]
    policy_file.write(path, policy, evaluation)
    return policy


@pytest.mark.parametrize(
    ("algo", "tasks", "net"),
    [
        ("sac", 1, {}),
        ("ddpg", 3, {"task_input": "embedding"}),
        ("td3", 3, {"kind": "multihead", "residual": True, "hidden_shapes": [9, 9, 9]}),
        ("sac", 3, {"kind": "independent", "norm": "layer", "actor_hidden_shapes": [7]}),
        ("sac", 3, {"kind": "soft_module", "norm": "layer"}),
        *(("sac", 3, {"kind": kind}) for kind in ("paco", "moore", "film", "care")),
    ],
)
def test_a_round_trip_preserves_the_actor(
    algo: str, tasks: int, net: dict[str, Any], tmp_path: Path
) -> None:
    spec = padded_spec([5, 3, 4][:tasks], [2, 2, 1][:tasks])
    path = tmp_path / "policy.safetensors"
    policy = write(path, spec, algo=algo, **net)
    file = policy_file.read(path)
    obs = torch.randn(tasks, 9, spec.obs_dim, generator=torch.Generator().manual_seed(0))
    task = torch.arange(tasks)
    with torch.no_grad():
        assert torch.equal(file.actor().act(obs, task), policy.actor.act(obs, task))
    assert torch.equal(file.spec.obs_mask, spec.obs_mask)
    assert torch.equal(file.spec.act_mask, spec.act_mask)
    assert (file.header.frames, file.header.seed, file.header.versions) == (7, 2, {"torch": "2"})
    assert file.header.evaluation[0].returns == [1.5]
    assert file.config.model_dump() == policy.config.model_dump()


def test_a_run_writes_its_final_policy_and_evaluation(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("{}")
    tasks = {"env__tasks": ["drawer-close-v3", "reach-v3"], "env__num_envs": 2}
    flags = ("--config", tmp_path / "c.json", "--seed", 4)
    folder = train(tmp_path / "log", *flags, many=True, env__group_size=2, **tasks)
    path = folder / "policy.safetensors"
    file, result = policy_file.read(path), json.loads((folder / "result.json").read_text())
    last = torch.load(newest_checkpoint(folder), weights_only=True)["learner"]["networks"]
    for name, tensor in file.tensors.items():
        assert torch.equal(tensor, last[f"actor.{name}"])
    assert (file.header.frames, file.header.seed) == (60, 4)
    versions = json.loads((folder / "versions.json").read_text())
    assert file.header.versions.items() <= versions.items()
    assert {"torch", "mujoco", "metaworld"} <= file.header.versions.keys()
    assert file.header.config == json.loads((folder / "params.json").read_text())
    for one in file.header.evaluation:
        assert np.mean(one.returns) == pytest.approx(result[f"eval_return/{one.task}"], rel=1e-12)
        assert np.mean(one.successes) == result[f"eval_success/{one.task}"]
    policy = load_policy(path)  # the file alone reproduces the episodes exactly
    again, _ = evaluate(policy, [0, 1], episodes=2, seed=policy.seed, workers=0)
    assert again == file.header.evaluation
    assert [summary(one).episodes for one in again] == [2, 2]


def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Writes a valid file and changes its tensors and header."""
    write(path)
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["policy"])
    tensors = load(content)
    change(tensors, header)
    path.write_bytes(save(tensors, metadata={"policy": json.dumps(header)}))


def set_header(key: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    def change(_tensors: dict[str, Any], header: dict[str, Any]) -> None:
        *parents, last = key.split(".")
        for parent in parents:
            header = header[int(parent) if parent.isdecimal() else parent]
        header[last] = value

    return change


HEAD = "body.head.weight"


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        (set_header("format", 2), "format"),
        (set_header("kind", "deterministic"), "kind: must be 'gaussian'"),
        (set_header("frames", 10**400), "frames"),
        (set_header("obs_dims", [6]), "body.trunk.layers.0.weight"),
        (set_header("obs_dims", [10**30]), "obs_dims"),
        (set_header("act_dims", [2, 2]), "sizes"),
        (set_header("evaluation.0.task", "task7"), "task7"),
        (set_header("evaluation.0.returns", [1, 2]), "differ in length"),
        (set_header("config", {}), "algo"),
        (set_header("config.net.hidden_shapes", [2**16, 2**16]), "65536"),
        (set_header("config.net.hidden_shapes", [2**62, 2**62]), "too large"),
        (set_header("config.net.hidden_shapes", [2] * 100), "body.trunk.layers"),
        (set_header("config.net.kind", "soft_module"), "tensor"),
        (lambda t, _: t.pop(HEAD), f"lacks the tensor {HEAD!r}"),
        (lambda t, _: t.update(extra=torch.zeros(3)), "has the tensor 'extra'"),
        (lambda t, _: t.update({HEAD: t[HEAD][..., :3].contiguous()}), HEAD),
        (lambda t, _: t.update({HEAD: t[HEAD].double()}), "float64"),
        (lambda t, _: t[HEAD][..., 0].fill_(float("nan")), f"{HEAD} is not finite"),
    ],
)
def test_an_inconsistent_file_is_rejected(
    change: Callable[[dict[str, Any], dict[str, Any]], None], needle: str, tmp_path: Path
) -> None:
    path = tmp_path / f"policy{SUFFIX}"
    rewrite(path, change)
    message = error_of(policy_file.read, path)
    assert needle in message and str(path) in message


LARGE = b'{"a": {"dtype": "F32", "shape": [9000000000], "data_offsets": [0, 36000000000]}}'


def with_metadata(metadata: dict[str, str] | None) -> bytes:
    return save({"a": torch.zeros(1)}, metadata=metadata)


@pytest.mark.parametrize(
    ("content", "needle"),
    [
        (b"", "damaged"),
        (struct.pack("<Q", 10_000_000_000) + b'{"a": 1}', "damaged"),
        (struct.pack("<Q", len(LARGE)) + LARGE, "damaged"),
        (b"\x80\x04cos\nsystem\n(S'false'\ntR.", "damaged"),  # a pickle
        (with_metadata(None), "no policy of torchrl_lite"),
        (with_metadata({"format": "pt"}), "no policy of torchrl_lite"),
        (with_metadata({"policy": "[]"}), "header"),
        (with_metadata({"policy": '{"format": 1, "format": 1}'}), "header"),
        (with_metadata({"policy": "[" * 100_000}), "header"),
        (with_metadata({"policy": '"\\ud800"'}), "header"),
    ],
    ids=["empty", "10 GB header", "large tensor", "pickle", "no metadata", "other metadata", "list",
         "duplicate key", "deeply nested", "lone surrogate"],
)  # fmt: skip
def test_a_file_without_a_policy_is_rejected(content: bytes, needle: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    path.write_bytes(content)
    assert needle in error_of(policy_file.read, path)


def test_a_damaged_file_is_rejected_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    write(path)
    rejected = 0
    for broken in damaged(path.read_bytes()):
        path.write_bytes(broken)
        try:
            policy_file.read(path)
        except (CheckpointError, UserError) as error:
            assert len(str(error).splitlines()) == 1
            rejected += 1
    assert rejected > 100


def test_a_policy_imports_modules_only_when_trusted(tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    env = {"suite": "gymnasium", "imports": ["antigravity_of_a_stranger"]}
    rewrite(path, lambda _, header: header["config"]["env"].update(env))
    assert "--trust_imports" in error_of(load_policy, path)
    assert "cannot be imported" in error_of(load_policy, path, trust_imports=True)


def test_a_policy_whose_sizes_differ_from_its_task_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    write(path, Spec(("reach-v3",), (5,), (2,)))
    message = error_of(load_policy, path)
    assert "observations of 5 and actions of 2 dimensions; reach-v3 has 39 and 4" in message
