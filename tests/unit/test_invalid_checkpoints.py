"""Checkpoints with valid checksums but invalid contents fail with a one-line error."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import newest_checkpoint, sign
from tiny_runs import SAVED, contents, folder_in, one_line, sets, start

State = dict[str, Any]


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    log_dir = tmp_path_factory.mktemp("two")
    assert start(log_dir, *sets(SAVED), "--until", "20") == 0
    return log_dir


def set_value(*keys: Any, value: Any) -> Callable[[State], None]:
    def change(state: Any) -> None:
        for key in keys[:-1]:
            state = state[key]
        state[keys[-1]] = value

    return change


MOMENTS = ("learner", "optimizers", "critic", "state", 0)
SITE = ("collector", "sites", "0/0")
CHANGES = {
    "epoch": set_value("epoch", value=torch.zeros(2)),
    "frames": set_value("frames", value=[10, 10]),
    "learned": set_value("learned", value={"train/alpha": "x"}),
    "learner": set_value("learner", value=torch.zeros(2, 3)),
    "a parameter's shape": set_value("learner", "networks", "log_alpha", value=torch.ones(7)),
    "no device": set_value("learner", "device", value=None),
    "no environments": set_value("collector", "sites", value={}),
    "frozen updates": set_value("learner", "frozen_updates", value=None),
    "a moment's shape": set_value(*MOMENTS, "exp_avg", value=torch.zeros(3)),
    "a moment's type": set_value(*MOMENTS, "exp_avg_sq", value=torch.zeros(3).to(torch.complex64)),
    "missing moments": set_value(*MOMENTS, value={"step": torch.tensor(1.0)}),
    "stage": set_value("curriculum", "stage", value=3),
    "progress": set_value("curriculum", "progress", value=[0, 0, "x", True]),
    "origin": set_value("origin", value=[{"file": torch.zeros(1)}]),
    "wall time": set_value("wall_time", value=float("nan")),
    "site": set_value(*SITE, value=[1]),
    "position": set_value(*SITE, "position", value={"actions": 3}),
    "written": set_value("buffer", "written", value=[20, 20]),
    "a negative count": set_value("buffer", "chunks", 0, "counts", value=[-10]),
    "buffer": set_value("buffer", value=torch.zeros(2)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_invalid_state_is_rejected_and_no_file_changes(
    two_epochs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Unchecked, each would fail later and elsewhere, some only after an epoch."""
    shutil.copytree(two_epochs, tmp_path, dirs_exist_ok=True)
    folder = folder_in(tmp_path)
    path = newest_checkpoint(folder)
    (path.parent / "last_1.json").unlink()  # no older one to fall back to
    state = torch.load(path, weights_only=True)
    CHANGES[name](state)
    torch.save(state, path)
    sign(path)
    before = contents(folder)

    assert start(tmp_path, "--resume") == 1

    one_line(capsys.readouterr().err, "error: ", str(path))
    assert contents(folder) == before
