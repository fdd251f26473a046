"""Searches and sweeps in local processes, without Ray: killed, stopped and continued."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import SHARED_MEMORY, is_free, is_midway, session_of, still_alive, wait_for
from tiny_runs import ROOT, TINY, rows_of, sets

pytestmark = pytest.mark.timeout(540)
PAGE = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
EPOCHS = 24
SMALL = TINY | {
    "train.num_epochs": EPOCHS - 1,
    "train.save_interval": 1,
    "env.num_envs": 2,
    "env.group_size": 2,
}


def block(language: str, number: int = 0) -> str:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[number]


def start(folder: Path, *words: str, **options: Any) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, *words], cwd=folder, env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def test_the_documented_search_continues_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With one tiny trial; the unit tests cover searches of several trials."""
    pytest.importorskip("optuna", reason="the extra [search] is not installed")
    (tmp_path / "space.json").write_text(block("json"))
    _, command = block("bash").splitlines()
    program, *words = shlex.split(command.replace("--trials 30", "--trials 1"))
    assert program == "python"
    words[words.index("1-3")] = "1"
    words[0] = str(ROOT / words[0])
    small = {key: value for key, value in SMALL.items() if key not in json.loads(block("json"))}
    words += ["--jobs", "1", *sets(small)]
    run = tmp_path / "log" / "search" / "trial_0000" / "push-v3" / "1"

    driver = start(tmp_path, *words)
    try:
        wait_for(lambda: is_midway(run) or driver.poll() is not None)
    finally:
        driver.kill()
    driver.communicate()
    wait_for(lambda: is_free(run))
    assert is_midway(run)

    driver = start(tmp_path, *words)
    out, err = driver.communicate()
    assert (driver.returncode, err) == (0, "")
    assert "resuming from frame" in (run / "console.log").read_text()
    assert [row["epoch"] for row in rows_of(run)] == [str(n + 1) for n in range(EPOCHS)]
    assert "no trial had a success" in out  # after so few epochs

    monkeypatch.chdir(tmp_path)
    exec(block("python"), {})
    assert capsys.readouterr().out.startswith("0 0.0 {'sac.qlr': ")
    config = json.loads((tmp_path / "log" / "search" / "best.json").read_text())
    params = json.loads((run / "params.json").read_text())
    for section in ("env", "sac", "net", "train"):
        assert config[section] == params[section]


def test_a_stopped_local_sweep_lets_its_runs_finish_their_epoch(tmp_path: Path) -> None:
    shared_before = set(SHARED_MEMORY.iterdir())
    endless = SMALL | {"train.num_epochs": 10**5, "train.save_interval": 10**5}
    driver = start(
        tmp_path, str(ROOT / "starter" / "sweep.py"), "--starter", "st_sac", "--tasks", "0",
        "--seeds", "1-3", "--id", "x", "--jobs", "2", *sets(endless), start_new_session=True,
    )  # fmt: skip
    folders = [tmp_path / "log" / "x" / "reach-v3" / seed for seed in "123"]
    wait_for(lambda: all((f / "log.csv").exists() and len(rows_of(f)) > 3 for f in folders[:2]))
    members = session_of(driver.pid)
    assert len(members) > 2
    os.killpg(driver.pid, signal.SIGTERM)
    _, err = driver.communicate()
    survivors = still_alive(members | session_of(driver.pid), 30)
    for pid in survivors:
        os.kill(pid, signal.SIGKILL)
    assert (driver.returncode, err) == (143, "stopped by SIGTERM; the same command continues\n")
    for folder in folders[:2]:
        assert (folder / "console.log").read_text().endswith("continue with --resume\n")
    assert not folders[2].exists()
    assert survivors == set()
    assert set(SHARED_MEMORY.iterdir()) == shared_before
