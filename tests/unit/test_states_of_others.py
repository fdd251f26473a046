"""Complete checkpoints with good checksums that no run wrote: refused in one line."""

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


def setting(*keys: Any, value: Any) -> Callable[[State], None]:
    def change(state: Any) -> None:
        for key in keys[:-1]:
            state = state[key]
        state[keys[-1]] = value

    return change


MOMENT = ("learner", "optimizers", "critic", "state", 0)
SITE = ("collector", "sites", "0/0")
CHANGES = {
    "epoch": setting("epoch", value=torch.zeros(2)),
    "frames": setting("frames", value=[10, 10]),
    "learned": setting("learned", value={"train/alpha": "x"}),
    "learner": setting("learner", value=torch.zeros(2, 3)),
    "another shape": setting("learner", "networks", "log_alpha", value=torch.ones(7)),
    "no device": setting("learner", "device", value=None),
    "no environments": setting("collector", "sites", value={}),
    "frozen updates": setting("learner", "frozen_updates", value=None),
    "a moment's shape": setting(*MOMENT, "exp_avg", value=torch.zeros(3)),
    "a moment's type": setting(*MOMENT, "exp_avg_sq", value=torch.zeros(3).to(torch.complex64)),
    "no moment": setting(*MOMENT, value={"step": torch.tensor(1.0)}),
    "stage": setting("curriculum", "stage", value=3),
    "progress": setting("curriculum", "progress", value=[0, 0, "x", True]),
    "origin": setting("origin", value=[{"file": torch.zeros(1)}]),
    "wall time": setting("wall_time", value=float("nan")),
    "site": setting(*SITE, value=[1]),
    "position": setting(*SITE, "position", value={"actions": 3}),
    "written": setting("buffer", "written", value=[20, 20]),
    "a negative count": setting("buffer", "chunks", 0, "counts", value=[-10]),
    "buffer": setting("buffer", value=torch.zeros(2)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_state_that_no_run_wrote_is_one_line_and_nothing_is_lost(
    two_epochs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Each would fail later and elsewhere, some of them after an epoch."""
    shutil.copytree(two_epochs, tmp_path, dirs_exist_ok=True)
    folder = folder_in(tmp_path)
    path = newest_checkpoint(folder)
    (path.parent / "last_1.json").unlink()  # nothing older to go on from
    state = torch.load(path, weights_only=True)
    CHANGES[name](state)
    torch.save(state, path)
    sign(path)
    before = contents(folder)

    assert start(tmp_path, "--resume") == 1

    one_line(capsys.readouterr().err, "error: ", str(path))
    assert contents(folder) == before
