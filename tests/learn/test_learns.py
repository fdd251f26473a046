"""The defaults solve a task. Minutes: ``pytest -m slow tests/learn``."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

STARTER = Path(__file__).parents[2] / "starter" / "st_sac.py"
PRETRAIN_FRAMES, EPOCH_FRAMES = 10_000, 500
"""Of the shipped single-task configurations."""


def final_success(task: str, frames: int, log_dir: Path) -> float:
    """Trains with the shipped configuration for that many frames."""
    epochs = (frames - PRETRAIN_FRAMES) // EPOCH_FRAMES
    args = ["--task", task, "--log_dir", str(log_dir), "--set", f"train.num_epochs={epochs}"]
    args += ["--set", "system.threads=1"]  # another number rounds differently
    subprocess.run([sys.executable, str(STARTER), *args], check=True)
    folder = log_dir / "MT10_Individual_Tasks" / task / "1"
    result = json.loads((folder / "result.json").read_text())
    assert result["frames"] == frames
    return result["eval/success_rate"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_drawer_close_is_solved_within_30k_frames(tmp_path: Path) -> None:
    """About 4 minutes on one core."""
    assert final_success("drawer-close-v3", 30_000, tmp_path) >= 0.9
