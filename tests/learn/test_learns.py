"""Training solves tasks: ``pytest -m slow tests/learn``, minutes each on one core."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]


def result_of(starter: str, log_dir: Path, *flags: str, **train: int) -> dict[str, Any]:
    """Trains in a subprocess, with one thread since rounding depends on their number."""
    fields = {"system.threads": 1} | {f"train.{key}": value for key, value in train.items()}
    sets = [part for key, value in fields.items() for part in ("--set", f"{key}={value}")]
    starter = str(ROOT / "starter" / f"{starter}.py")
    subprocess.run([sys.executable, starter, *flags, "--log_dir", str(log_dir), *sets], check=True)
    (path,) = log_dir.rglob("result.json")
    return json.loads(path.read_text())


def test_drawer_close_is_solved_within_60k_frames(tmp_path: Path) -> None:
    """With the defaults, about 15 minutes: 10,000 random frames, then 500 an epoch."""
    result = result_of("st_sac", tmp_path, "--task", "drawer-close-v3", num_epochs=100)
    assert result["frames"] == 60_000
    assert result["eval/success_rate"] >= 0.9


@pytest.mark.parametrize("seed", [3, 4])
@pytest.mark.parametrize(
    ("task", "updates", "success"),
    [("button-press-topdown-v3", 20_000, 0.9), ("pick-place-v3", 60_000, 0.8)],
)
def test_hard_tasks_are_solved_within_the_given_updates(
    task: str, updates: int, success: float, seed: int, tmp_path: Path
) -> None:
    """About 7 and 20 minutes."""
    flags = ["--config", str(ROOT / "config" / "fast_st.json"), "--task", task, "--seed", str(seed)]
    epochs = {"num_epochs": updates // 500, "eval_interval": 1000}
    result = result_of("st_sac", tmp_path, *flags, **epochs)
    assert result["updates"] == updates
    assert result["eval/success_rate"] >= success


@pytest.mark.parametrize("algo", ["sac", "td3", "ddpg"])
def test_pendulum_is_solved_within_20k_frames(algo: str, tmp_path: Path) -> None:
    """A random policy returns about -1200, the best one about -150."""
    config = str(ROOT / "config" / "mujoco" / "pendulum.json")
    result = result_of(f"st_{algo}", tmp_path, "--config", config)
    assert result["frames"] == 20_000
    assert result["eval/return"] >= -200
