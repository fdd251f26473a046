"""Two tasks of another package, with observations of 45 and 39 numbers and torques of up to 65.

Needs ``pip install -e .[soccer]`` in a separate virtual environment: the package requires an older
Gymnasium.
"""

from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.soccer
pytest.importorskip("sai_mujoco", reason="the extra [soccer] is not installed")

from tiny_runs import ROOT, rows_of, sets  # noqa: E402
from tiny_runs import TINY as SMALLEST  # noqa: E402

from torchrl_lite.command.launch import main  # noqa: E402

CONFIG = ROOT / "config" / "soccer.json"
TASKS = ("LowerT1GoaliePenaltyKick-v0", "LowerT1KickToTarget-v0")
TINY = SMALLEST | {
    "env.max_episode_frames": 12,
    "train.num_epochs": 3,
    "train.epoch_frames": 20,
    "system.workers": 2,
}


def test_one_policy_trains_on_both_tasks_and_resumes_bit_identically(tmp_path: Path) -> None:
    def run(name: str, *flags: str) -> Path:
        common = ["--config", str(CONFIG), "--log_dir", str(tmp_path / name), "--device", "cpu"]
        assert main("sac", [*common, *sets(TINY), *flags], multi_task=True) == 0
        return tmp_path / name / "soccer" / "soccer" / "1"

    whole = run("whole")
    run("half", "--until", "80")
    half = run("half", "--resume")

    states = [
        torch.load(folder / "checkpoint" / "last_4.pt", weights_only=True)
        for folder in (whole, half)
    ]
    ours, theirs = (state["learner"]["networks"] for state in states)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    last = rows_of(whole)[-1]
    assert [last[f"frames/{task}"] for task in TASKS] == ["80", "80"]
