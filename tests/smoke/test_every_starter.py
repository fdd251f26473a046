"""Every starter trains with the configurations it is meant for and its default run names.

The starters run in this process; `test_starter` covers separate processes.
"""

from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import ROOT, TINY, result_of, run_starter, sets

SETS = sets(TINY | {"train.batch_size": 30, "train.eval_interval": 1, "replay_buffer.size": 3000})


def result_of_run(log_dir: Path, starter: str, flags: str, folder: str) -> dict[str, Any]:
    """Runs a starter with a tiny budget and returns the result from the expected folder."""
    with chdir(ROOT):
        assert run_starter(starter, *flags.split(), *SETS, "--log_dir", log_dir) == 0
    return result_of(log_dir / folder / "1")


@pytest.mark.parametrize(
    ("starter", "flags", "folder"),
    [
        ("st_td3", "--task_id 5", "MT10_Individual_Tasks_td3/drawer-close-v3"),
        ("st_ddpg", "--config config/mujoco/humanoid.json", "humanoid_ddpg/Humanoid-v5"),
        ("mt_td3", "--config config/mt10.json", "mt10_td3/MT10"),
        ("mt_ddpg", "--config config/mt3.json", "mt3_ddpg/MT3"),
        (
            "st_sac",
            "--config config/mujoco/halfcheetah_deterministic.json",
            "halfcheetah_deterministic/HalfCheetah-v5",
        ),
    ],
)
def test_a_starter_runs(
    starter: str, flags: str, folder: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = result_of_run(tmp_path, starter, flags, folder)
    assert result["updates"] == 2
    assert result["eval/return"] is not None
    assert capfd.readouterr().err == ""


def test_a_multi_task_run_starts_from_a_single_task_run(tmp_path: Path) -> None:
    single_task = "MT10_Individual_Tasks/reach-v3"
    result_of_run(tmp_path, "st_sac", "--task reach-v3", single_task)
    run = tmp_path / single_task / "1"
    parts = '["actor","critic","alpha","buffer"]'
    flags = f"--config config/mt3.json --init_from {run} --set transfer.load={parts}"

    result = result_of_run(tmp_path, "mt_sac", flags, "mt3/MT3")

    (origin,) = result["origin"]
    assert origin["path"] == str(run)
    assert origin["frames"] in (10, 20)  # whichever evaluation was the best
    assert origin["parts"] == ["actor", "critic", "alpha", "buffer"]
    assert origin["buffer"]["transitions"] == {"reach-v3": 20}
    assert "log_alpha (1 of 3 tasks)" in origin["loaded"]
