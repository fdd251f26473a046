"""The batch script of docs/slurm.md, with the signals that Slurm sends."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import session_of, still_alive
from test_interrupted import TINY
from tiny_runs import ROOT, results, same_results, sets

from torchrl_lite.command.launch import main

EPOCHS = 20
CHANGES = {"train.num_epochs": EPOCHS - 2, "system.grace_seconds": 0.001}
SMALL = {k: v for k, v in (TINY | CHANGES).items() if k != "system.threads"}  # the script sets it
SETS = sets(SMALL)


def script(folder: Path) -> Path:
    """The page's first code block, with a fake ``scontrol`` that records its arguments."""
    page = (ROOT / "docs" / "slurm.md").read_text(encoding="utf-8")
    block = re.search(r"```bash\n(#!/bin/bash\n.*?)```", page, re.DOTALL)
    assert block is not None
    path, tools = folder / "array.sh", folder / "bin"
    path.write_text(block[1])
    tools.mkdir()
    (tools / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\n')
    (tools / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    return path


def start(path: Path, log_dir: Path, index: int = 1) -> subprocess.Popen[str]:
    env = os.environ | {
        "PATH": f"{path.parent / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "SLURM_ARRAY_JOB_ID": "77",
        "SLURM_ARRAY_TASK_ID": str(index),
        "SLURM_CPUS_PER_TASK": "1",
    }
    command = ["bash", str(path), "--log_dir", str(log_dir), "--device", "cpu", *SETS]
    return subprocess.Popen(
        command, cwd=ROOT, env=env, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def wait_for_epoch(process: subprocess.Popen[str], epoch: int) -> None:
    assert process.stdout is not None
    assert any(line.startswith(f"epoch {epoch} ") for line in process.stdout)


@pytest.mark.slow
def test_the_documented_script_survives_the_signals_of_slurm(tmp_path: Path) -> None:
    path, log = script(tmp_path), tmp_path / "log"

    first = start(path, log)
    wait_for_epoch(first, 5)
    members = session_of(first.pid)
    os.kill(first.pid, signal.SIGTERM)  # to the script alone, as with --signal=B:TERM
    first.communicate()
    assert first.returncode == 143
    assert still_alive(members, 30) == set()
    assert (tmp_path / "asked").read_text() == "requeue 77_1\n"

    second = start(path, log)
    wait_for_epoch(second, 10)
    members = session_of(second.pid)
    os.killpg(second.pid, signal.SIGKILL)  # as at the end of the grace period
    second.communicate()
    assert still_alive(members, 30) == set()

    third = start(path, log)
    out, _ = third.communicate()
    assert third.returncode == 0, out
    assert "resuming from frame" in out
    assert (tmp_path / "asked").read_text() == "requeue 77_1\n"

    flags = ["--task_id", "0", "--seed", "2", "--device", "cpu", "--set", "system.threads=1", *SETS]
    assert main("sac", [*flags, "--log_dir", str(tmp_path / "whole")]) == 0
    place = Path("MT10_Individual_Tasks", "reach-v3", "2")
    assert results(log / place) == results(tmp_path / "whole" / place)
    assert same_results(log / place, tmp_path / "whole" / place)
