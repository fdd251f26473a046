"""The real Weights & Biases package, offline: what its files hold after a run.

Needs ``pip install -e .[wandb]`` and is skipped without it.
"""

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import wait_for
from tiny_runs import ROOT, result_of, rows_of, short

pytestmark = pytest.mark.wandb
pytest.importorskip("wandb.proto", reason="the extra [wandb] is not installed")

TASKS = ["drawer-close-v3", "reach-v3"]
RUN = Path("log", "x", "two", "1")
KEY = "0123456789abcdef" * 3
SECRET = "nobody-may-read-this"


def start(folder: Path, **changes: Any) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    own = {"WANDB_MODE": "offline", "WANDB_API_KEY": KEY, "MY_PASSWORD": SECRET}
    own |= {"HOME": str(folder), "OMP_NUM_THREADS": "1"}
    fields: dict[str, Any] = {
        "env__tasks": TASKS,
        "env__num_envs": 2,
        "env__group_size": 2,
        "env__name": "two",
    }
    fields |= {"train__eval_interval": 1} | changes
    argv = short(folder / "log", "--config", "mt3", "--track", **fields)
    return subprocess.Popen(
        [sys.executable, str(ROOT / "starter" / "mt_sac.py"), *argv],
        env=clean | own, cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def records(folder: Path) -> Iterator[Any]:
    """The records in a run's W&B files: LevelDB's log format after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    for file in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        data, at, record = file.read_bytes(), 7, b""
        while at + 7 <= len(data):
            left = 32768 - at % 32768  # in the block; too little for a header is padding
            if left < 7:
                at += left
                continue
            _, length, kind = struct.unpack("<IHB", data[at : at + 7])
            record += data[at + 7 : at + 7 + length]
            at += 7 + length
            if kind in (1, 4):  # a full record, or its last part
                yield Record.FromString(record)
                record = b""


def items(update: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in update}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a video at its end."""
    folder = tmp_path_factory.mktemp("wandb")
    process = start(folder, log__video=9)
    _, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    return folder / RUN


def test_rows_videos_and_final_metrics_are_in_its_files(run: Path) -> None:
    rows: dict[int, dict[str, Any]] = {}
    videos: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    for record in records(run):
        logged_items = items(record.history.item)
        videos |= {key: value for key, value in logged_items.items() if key.startswith("video/")}
        if "epoch" in logged_items:
            rows[logged_items["_step"]] = logged_items
        summary |= items(record.summary.update)
    assert {record.run.project for record in records(run) if record.HasField("run")} == {
        "torchrl_lite"
    }
    for row in rows_of(run):
        mine = rows.pop(int(row.pop("total_frames")))
        logged = {key: float(value) for key, value in row.items() if value}
        assert {key: mine[key] for key in logged} == logged
    assert not rows
    assert summary["final/return"] == result_of(run)["eval/return"]
    for task in TASKS:
        (copy,) = run.glob(f"wandb/offline-run-*/files/{videos[f'video/{task}/path']}")
        assert copy.read_bytes() in [path.read_bytes() for path in (run / "video").iterdir()]


def test_no_api_key_or_environment_variable_is_written(run: Path) -> None:
    files = [path for path in run.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        content = path.read_bytes()
        assert KEY.encode() not in content, path
        assert SECRET.encode() not in content, path


def services(parent: int) -> list[int]:
    """W&B's processes among the children of a process."""
    lists = Path(f"/proc/{parent}/task").glob("*/children")
    children = [int(pid) for path in lists for pid in path.read_text().split()]
    programs = {pid: Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0] for pid in children}
    return [pid for pid, program in programs.items() if "wandb" in program]


@pytest.mark.timeout(600)
def test_training_continues_when_the_service_is_killed(tmp_path: Path) -> None:
    checkpoints = tmp_path / RUN / "checkpoint"
    endless = {"train__num_epochs": 100_000, "train__save_interval": 1}
    process = start(tmp_path, **endless, train__keep_checkpoints=1000)
    wait_for((checkpoints / "last_3.json").exists)
    victims = services(process.pid)
    assert victims
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    now = max(int(path.stem[5:]) for path in checkpoints.glob("last_*.json"))
    wait_for((checkpoints / f"last_{now + 5}.json").exists)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate()
    assert process.returncode == 143
    assert err.strip().count("\n") == 0
    assert out.count("warning: Weights & Biases failed") == 1
