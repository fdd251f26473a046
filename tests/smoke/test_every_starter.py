"""Every starter with the configurations that it is for, by its own defaults of names.

In this process: what a process of its own adds is shown by `test_starter`.
"""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TINY = {
    "env.max_episode_frames": 10,
    "net.hidden_shapes": [8],
    "train.pretrain_epochs": 1,
    "train.num_epochs": 1,
    "train.epoch_frames": 10,
    "train.opt_steps": 2,
    "train.batch_size": 30,
    "train.eval_interval": 1,
    "train.eval_episodes": 1,
    "train.final_eval_episodes": 1,
    "replay_buffer.size": 3000,
    "system.workers": 0,
    "system.threads": 1,
}


Results = Callable[[str, str, str], dict[str, Any]]


@pytest.fixture
def result_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Results:
    """Runs a starter with a tiny budget; its result, from the folder where it should be."""

    def run(starter: str, flags: str, folder: str) -> dict[str, Any]:
        sets = [part for k, v in TINY.items() for part in ("--set", f"{k}={json.dumps(v)}")]
        path = f"starter/{starter}.py"
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", [path, *flags.split(), *sets, "--log_dir", str(tmp_path)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(path, run_name="__main__")
        assert (end.value.code, capfd.readouterr().err) == (0, "")
        return json.loads((tmp_path / folder / "1" / "result.json").read_text())

    return run


@pytest.mark.parametrize(
    ("starter", "flags", "folder"),
    [
        ("st_td3", "--task_id 5", "MT10_Individual_Tasks_td3/drawer-close-v3"),
        ("st_ddpg", "--task reach-v3", "MT10_Individual_Tasks_ddpg/reach-v3"),
        ("st_td3", "--config config/mujoco/humanoid.json", "humanoid_td3/Humanoid-v5"),
        ("st_sac", "--config config/mujoco/walker2d.json", "walker2d/Walker2d-v5"),
        ("mt_td3", "--config config/mt10.json", "mt10_td3/MT10"),
        ("mt_ddpg", "--config config/mt3.json", "mt3_ddpg/MT3"),
        (
            "st_sac",
            "--config config/mujoco/halfcheetah_deterministic.json",
            "halfcheetah_deterministic/HalfCheetah-v5",
        ),
    ],
)
def test_a_starter_runs(starter: str, flags: str, folder: str, result_of: Results) -> None:
    result = result_of(starter, flags, folder)
    assert result["updates"] == 2
    assert result["eval/return"] is not None


def test_a_run_starts_from_another(tmp_path: Path, result_of: Results) -> None:
    """From one task to three, with everything."""
    one = "MT10_Individual_Tasks/reach-v3"
    result_of("st_sac", "--task reach-v3", one)
    run = tmp_path / one / "1"
    parts = '["actor","critic","alpha","buffer"]'
    flags = f"--config config/mt3.json --init_from {run} --set transfer.load={parts}"

    result = result_of("mt_sac", flags, "mt3/MT3")

    (origin,) = result["origin"]
    assert origin["path"] == str(run)
    assert origin["frames"] in (10, 20)  # whichever evaluation was the best
    assert origin["parts"] == ["actor", "critic", "alpha", "buffer"]
    assert origin["buffer"]["transitions"] == {"reach-v3": 20}
    assert "log_alpha (1 of 3 tasks)" in origin["loaded"]
