"""``config/fast_st.json`` solves hard tasks with few updates: ``pytest -m slow tests/learn``."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UPDATES_AN_EPOCH = 500


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", [3, 4])
@pytest.mark.parametrize(
    ("task", "updates", "success"),
    [("button-press-topdown-v3", 20_000, 0.9), ("pick-place-v3", 60_000, 0.8)],
)
def test_a_task_is_solved_within_so_many_updates(
    task: str, updates: int, success: float, seed: int, tmp_path: Path
) -> None:
    """About 7 and 20 minutes on one core."""
    subprocess.run(
        [sys.executable, str(ROOT / "starter" / "st_sac.py"),
         "--config", str(ROOT / "config" / "fast_st.json"), "--task", task, "--seed", str(seed),
         "--log_dir", str(tmp_path), "--set", f"train.num_epochs={updates // UPDATES_AN_EPOCH}",
         "--set", "system.threads=1", "--set", "train.eval_interval=1000"],
        check=True,
    )  # fmt: skip
    result = json.loads((tmp_path / "fast_st" / task / str(seed) / "result.json").read_text())
    assert result["updates"] == updates
    assert result["eval/success_rate"] >= success
