"""All three algorithms solve Pendulum. About ten minutes each on one core: ``pytest -m slow``."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("algo", ["sac", "td3", "ddpg"])
def test_pendulum_is_solved_within_20k_frames(algo: str, tmp_path: Path) -> None:
    """-1200 is what a random policy gets, about -150 the best there is."""
    config = ["--config", str(ROOT / "config" / "mujoco" / "pendulum.json"), "--id", "x"]
    starter = ROOT / "starter" / f"st_{algo}.py"
    subprocess.run(
        [sys.executable, str(starter), *config, "--log_dir", str(tmp_path)],
        check=True,
    )
    result = json.loads((tmp_path / "x" / "Pendulum-v1" / "1" / "result.json").read_text())
    assert result["frames"] == 20_000
    assert result["eval/return"] >= -200
