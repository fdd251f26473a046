"""Runs on Ray: starting without it, resuming on a cluster, and one that cannot be reached."""

import json
import socket
import sys
from pathlib import Path

import pytest
from tiny_runs import one_line, requested

from torchrl_lite.command.launch import main
from torchrl_lite.command.options import resolve
from torchrl_lite.config import Config
from torchrl_lite.errors import UserError

TASK = ["--task", "reach-v3"]
ON_RAY = ["--set", "system.workers=ray"]
FAR = "system.ray.address=far-away:6379"


def test_without_ray_the_error_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main("sac", [*TASK, *ON_RAY, "--log_dir", str(tmp_path / "log")]) == 2
    one_line(capsys.readouterr().err, "pip install -e '.[ray]'")
    assert not (tmp_path / "log").exists()


# --- resume --------------------------------------------------------------------------------------


def resumed(folder: Path, started_with: list[str], *argv: str) -> Config:
    """The configuration of a resumed run that started with other flags."""
    here = [*TASK, "--log_dir", str(folder / str(len(list(folder.iterdir()))))]
    started = requested(*here, *started_with)
    params = json.loads(resolve(started.config).model_dump_json())
    started.folder.mkdir(parents=True)
    (started.folder / "params.json").write_text(json.dumps(params))
    return requested(*here, "--resume", *argv).config


def test_a_run_can_move_to_ray_and_back(tmp_path: Path) -> None:
    there = resumed(tmp_path, [], *ON_RAY, "--set", "system.ray.num_workers=4")
    assert there.system.num_workers == 4
    back = resumed(tmp_path, ON_RAY, "--set", "system.workers=3")
    assert back.system.num_workers == 3
    assert resumed(tmp_path, ON_RAY).system.workers == "ray"


def test_resume_joins_a_cluster_only_if_the_user_names_it(tmp_path: Path) -> None:
    far = [*ON_RAY, "--set", FAR]
    with pytest.raises(UserError, match=r"system\.ray\.address: .*would join far-away:6379"):
        resumed(tmp_path, far)
    for named in (["--set", FAR], ["--trust_imports"]):
        assert resumed(tmp_path, far, *named).system.ray.address == "far-away:6379"
    unused = resumed(tmp_path, far, "--set", "system.workers=0")
    assert unused.system.num_workers == 0


def test_an_unreachable_cluster_is_reported_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray.cluster_utils", reason="the extra [ray] is not installed")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # but not listening
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        argv = [*TASK, *ON_RAY, "--set", f"system.ray.address={address}"]
        assert main("sac", [*argv, "--log_dir", str(tmp_path / "log")]) == 2
    one_line(capsys.readouterr().err, f"system.ray.address: '{address}': not reachable")
    assert not (tmp_path / "log").exists()
