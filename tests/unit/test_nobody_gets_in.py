"""Files and names from strangers: nothing in them is executed, nothing is written elsewhere."""

import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import newest_checkpoint, sign
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torchrl_lite.algo.registry import ALGORITHMS
from torchrl_lite.checkpoint import files
from torchrl_lite.command.launch import main
from torchrl_lite.config import Config, load
from torchrl_lite.errors import CheckpointError, UserError

TASK = "reach-v3"
SECTIONS = {name: section for name, (_, section) in ALGORITHMS.items()}
TINY = {
    "env.max_episode_frames": "10",
    "net.hidden_shapes": "[4]",
    "train.epoch_frames": "10",
    "train.opt_steps": "1",
    "train.pretrain_epochs": "1",
    "train.num_epochs": "1",
    "train.batch_size": "4",
    "train.final_eval_episodes": "1",
    "system.threads": "1",
    "system.workers": "0",
}


def start(log_dir: Path, *argv: str) -> int:
    common = ["--device", "cpu", "--log_dir", str(log_dir)]
    return main("sac", [*common, *argv])


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"mkdir '{self.target}'",))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "executed"


def test_the_payload_of_these_tests_would_execute(target: Path) -> None:
    pickle.loads(pickle.dumps(Payload(target)))
    assert target.exists()


# --- checkpoints ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log directory of a run; only to be read."""
    log_dir = tmp_path_factory.mktemp("finished")
    sets = [part for key, value in TINY.items() for part in ("--set", f"{key}={value}")]
    assert start(log_dir, "--task", TASK, "--id", "x", *sets) == 0
    return log_dir


@pytest.mark.parametrize("signed", [False, True], ids=["as it is", "with a manifest"])
def test_a_run_with_a_malicious_checkpoint_is_refused(
    finished: Path, tmp_path: Path, target: Path, capsys: pytest.CaptureFixture[str], signed: bool
) -> None:
    log_dir = tmp_path / "log"
    shutil.copytree(finished, log_dir)
    run = log_dir / "x" / TASK / "1"
    path = newest_checkpoint(run)
    state = torch.load(path, weights_only=True)
    torch.save(state | {"best": Payload(target)}, path)
    (run / "result.json").unlink()
    if signed:
        sign(path)

    assert start(log_dir, "--task", TASK, "--id", "x", "--resume") == 1

    error = capsys.readouterr().err
    assert path.name in error and len(error.splitlines()) == 1
    assert not target.exists()


def plain_pickle(path: Path, target: Path) -> None:
    path.write_bytes(pickle.dumps(Payload(target)))


def old_format(path: Path, target: Path) -> None:
    torch.save(Payload(target), path, _use_new_zipfile_serialization=False)


def climbing(path: Path, _target: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../executed/data.pkl", b"")


def absolute(path: Path, target: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{target}/data.pkl", b"")


def bomb(path: Path, _target: Path) -> None:
    """Unpacks to a thousand times its size."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}))
        archive.writestr("a/data/0", bytes(20_000_000))


def huge_header(path: Path, _target: Path) -> None:
    """The directory claims that an entry has ten gigabytes."""
    torch.save({"weight": torch.zeros(3)}, path)
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = struct.pack("<II", 0xF0000000, 0xF0000000)
    path.write_bytes(content)


FILES: list[Callable[[Path, Path], None]] = [
    plain_pickle,
    old_format,
    climbing,
    absolute,
    bomb,
    huge_header,
]


@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__)
def test_a_malicious_file_is_one_line_and_has_no_effect(
    tmp_path: Path, target: Path, make: Callable[[Path, Path], None]
) -> None:
    path = tmp_path / "weights.pt"
    make(path, target)
    with pytest.raises(CheckpointError) as caught:
        files.load(path)
    assert str(path) in str(caught.value) and len(str(caught.value).splitlines()) == 1
    assert [found.name for found in tmp_path.iterdir()] == ["weights.pt"]


def test_ten_gigabytes_of_nothing_are_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"weight": torch.zeros(3)}, path)
    os.truncate(path, 10**10)  # a sparse file
    with pytest.raises(CheckpointError):
        files.load(path)


STATE = {"weight": torch.arange(6.0), "epoch": 3, "nested": {"list": [1, 2.5, "x", None]}}


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_damage_to_a_file_is_an_error_in_one_line_or_none(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "weights.pt"
    torch.save(STATE, path)
    content = path.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 64)))
    path.write_bytes(content[:start] + data.draw(st.binary(max_size=64)) + content[end:])
    try:
        assert isinstance(files.load(path), dict)
    except CheckpointError as error:
        assert len(str(error).splitlines()) == 1 and str(path) in str(error)


# --- configurations ------------------------------------------------------------------------------

TAGS = [
    "!!python/object/apply:os.system ['mkdir {target}']",
    "!!python/object/new:os.system ['mkdir {target}']",
    "!!python/name:os.system",
    "!!python/module:os",
    "!!binary aGVsbG8=",
    "!unknown x",
]


@pytest.mark.parametrize("tag", TAGS)
def test_a_yaml_tag_is_a_mistake_and_executes_nothing(
    tmp_path: Path, target: Path, capsys: pytest.CaptureFixture[str], tag: str
) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text(f"algo: sac\nenv:\n  tasks: {tag.format(target=target)}\n")

    assert start(tmp_path / "log", "--config", str(path)) == 2

    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and "evil.yaml" in error
    assert not target.exists() and not (tmp_path / "log").exists()


def test_a_yaml_of_aliases_ends_quickly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A billion laughs."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for n in range(1, 9):
        lines.append(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]")
    path = tmp_path / "evil.yaml"
    path.write_text("\n".join(lines))
    assert start(tmp_path / "log", "--config", str(path)) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_ten_gigabytes_are_no_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    path = tmp_path / f"evil.{kind}"
    path.write_text("{}")
    os.truncate(path, 10**10)  # a sparse file
    assert start(tmp_path / "log", "--config", str(path)) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and "larger than" in error


KEYS = st.sampled_from(
    ["algo", "env", "net", "train", "tasks", "num_envs", "sac", "td3", "alpha", "extends", "system"]
) | st.text(max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    tree=st.dictionaries(KEYS, JSON, max_size=4),
    overrides=st.lists(st.tuples(KEYS, KEYS, st.text(max_size=6)), max_size=2),
    yaml=st.booleans(),
)
def test_random_trees_are_a_configuration_or_one_line(
    tmp_path: Path, tree: dict[str, Any], overrides: list[tuple[str, str, str]], yaml: bool
) -> None:
    path = tmp_path / ("random.yaml" if yaml else "random.json")
    path.write_text(json.dumps(tree), encoding="utf-8")
    sets = [f"{section}.{key}={value}" for section, key, value in overrides]
    assert_config_or_one_line(path, sets)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode), yaml=st.booleans())
def test_random_bytes_are_one_line(tmp_path: Path, content: bytes, yaml: bool) -> None:
    path = tmp_path / ("random.yaml" if yaml else "random.json")
    path.write_bytes(content)
    assert_config_or_one_line(path, [])


def assert_config_or_one_line(path: Path, sets: list[str]) -> None:
    try:
        assert isinstance(load(path, sets, sections=SECTIONS, algo="sac"), Config)
    except UserError as error:
        assert len(str(error).splitlines()) == 1


# --- names ---------------------------------------------------------------------------------------

ESCAPES = [
    "../../x",
    "..",
    ".",
    "/tmp/x",
    "a/b",
    "a\\b",
    "~",
    "x\n",
    "\0",
    "",
    " ",
    ".hidden",
    "-x",
]


@pytest.mark.parametrize("name", ESCAPES, ids=repr)
@pytest.mark.parametrize("how", ["--id", "--task", "env.tasks", "env.name"])
def test_no_name_escapes_the_log_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str, name: str
) -> None:
    argv = {
        "--id": ["--task", TASK, f"--id={name}"],
        "--task": [f"--task={name}"],
        "env.tasks": ["--task", TASK, "--set", f"env.tasks={json.dumps([name])}"],
        "env.name": ["--task", TASK, "--set", f"env.name={json.dumps(name)}"],
    }[how]
    before = sorted(tmp_path.parent.rglob("*"))

    assert start(tmp_path / "log", *argv) == 2

    assert len(capsys.readouterr().err.splitlines()) == 1
    assert sorted(tmp_path.parent.rglob("*")) == before


# --- secrets -------------------------------------------------------------------------------------


def test_no_environment_variable_reaches_a_file_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "s3cr3t0123456789"
    for name in ("WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "MY_TOKEN"):
        monkeypatch.setenv(name, secret)
    sets = [part for key, value in TINY.items() for part in ("--set", f"{key}={value}")]
    assert start(tmp_path, "--task", TASK, "--id", "x", *sets) == 0
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes()
    assert secret not in "".join(capfd.readouterr())
