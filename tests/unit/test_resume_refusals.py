"""``--resume`` of a run with missing or invalid files fails in one line and changes no file."""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from helpers import newest_checkpoint, sign
from tiny_runs import SAVED, contents, folder_in, one_line, sets, start

from torchrl_lite import UserError, train


@pytest.fixture(scope="module")
def three_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    log_dir = tmp_path_factory.mktemp("three")
    assert start(log_dir, *sets(SAVED | {"train.eval_interval": 2}), "--until", "30") == 0
    return log_dir


@pytest.fixture
def folder(three_epochs: Path, tmp_path: Path) -> Path:
    """A private copy of the run directory."""
    shutil.copytree(three_epochs, tmp_path, dirs_exist_ok=True)
    return folder_in(tmp_path)


def remove(folder: Path, pattern: str) -> None:
    for path in folder.glob(pattern):
        path.unlink()


class Lost(NamedTuple):
    message: str
    removed: Sequence[str] = ()
    written: Mapping[str, str] = {}


NO_CHECKPOINT = "no complete checkpoint any more"
LOST = {
    "params.json": Lost("params.json: is missing", ["params.json"]),
    "half of it": Lost("params.json: not valid JSON", written={"params.json": "{"}),
    "its fields": Lost("params.json: env: is missing", written={"params.json": "{}"}),
    "all but log.csv": Lost("holds log.csv", ["checkpoint/*", "params.json"]),
    "all but weights": Lost("holds checkpoint/best.pt", ["*.*", "checkpoint/last_*"]),
    "manifests": Lost(NO_CHECKPOINT, ["checkpoint/*.json"]),
    "all results": Lost(f"{NO_CHECKPOINT}; restore", ["checkpoint/*", "log.csv"]),
    "checkpoints": Lost("only log.csv", ["checkpoint/*"]),
    "manifests and versions.json": Lost(NO_CHECKPOINT, ["checkpoint/*.json", "versions.json"]),
    "manifests, and versions.json damaged": Lost(
        NO_CHECKPOINT, ["checkpoint/*.json"], {"versions.json": "{"}
    ),
}


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
def test_an_incomplete_run_is_rejected_and_not_changed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], lost: Lost
) -> None:
    for pattern in lost.removed:
        remove(folder, pattern)
    for name, text in lost.written.items():
        (folder / name).write_text(text)
    (folder / "checkpoint" / ".last_4.pt.x.tmp").write_bytes(b"half")
    before = contents(folder)

    assert start(tmp_path, "--resume") == 2

    one_line(capsys.readouterr().err, lost.message, str(folder))
    assert contents(folder) == before


INVALID: dict[str, Any] = {
    "epoch": torch.zeros(2),
    "frames": [10, 10],  # of two tasks
    "learned": {"train/alpha": "x"},
    "learner": torch.zeros(2, 3),
    "learner.networks.log_alpha": torch.ones(7),
    "learner.device": None,
    "learner.frozen_updates": None,
    "learner.optimizers.critic.state.0": {"step": torch.tensor(1.0)},
    "learner.optimizers.critic.state.0.exp_avg": torch.zeros(3),
    "learner.optimizers.critic.state.0.exp_avg_sq": torch.zeros(3).to(torch.complex64),
    "curriculum.stage": 3,
    "curriculum.progress": [0, 0, "x", True],
    "origin": [{"file": torch.zeros(1)}],
    "wall_time": math.nan,
    "collector.sites": {},
    "collector.sites.0/0": [1],
    "collector.sites.0/0.position": {"actions": 3},
    "buffer": torch.zeros(2),
    "buffer.written": [20, 20],
    "buffer.chunks.0.counts": [-10],
}
"""Values that no run writes to its checkpoint."""


@pytest.mark.parametrize("key", INVALID)
def test_an_invalid_state_with_a_valid_checksum_is_rejected_and_not_changed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    """Unchecked, each would fail later and elsewhere, some only after an epoch."""
    path = newest_checkpoint(folder)
    (path.parent / "last_2.json").unlink()  # no older one to fall back to
    part = state = torch.load(path, weights_only=True)
    *parents, last = [int(name) if name.isdecimal() else name for name in key.split(".")]
    for parent in parents:
        part = part[parent]
    del part[last]  # it exists
    part[last] = INVALID[key]
    torch.save(state, path)
    sign(path)
    before = contents(folder)

    assert start(tmp_path, "--resume") == 1

    one_line(capsys.readouterr().err, "error: ", str(path))
    assert contents(folder) == before


def test_another_seed_is_rejected_and_the_run_not_changed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its goals and random numbers would differ from there on."""
    moved = folder.rename(folder.parent / "7")
    before = contents(moved)
    assert start(tmp_path, "--seed", "7", "--resume") == 2
    one_line(capsys.readouterr().err, "--seed", str(moved), "has seed 1, not 7")
    with pytest.raises(UserError, match="has seed 1, not 7"):
        train(moved / "params.json", seed=7, run_dir=moved, device="cpu", resume=True)
    assert contents(moved) == before


def test_a_run_that_never_had_a_checkpoint_restarts(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A kill during the first save leaves all files but the manifest."""
    remove(folder, "checkpoint/*.json")
    versions = folder / "versions.json"
    head = json.loads(versions.read_text())
    assert head.pop("has_checkpoint") is True
    versions.write_text(json.dumps(head | {"has_checkpoint": False}))

    assert start(tmp_path, "--resume", "--until", "10") == 0

    assert "starting from frame 0" in capsys.readouterr().out
    assert json.loads(versions.read_text())["has_checkpoint"] is True
    assert len((folder / "log.csv").read_text().splitlines()) == 2
