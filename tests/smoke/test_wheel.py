"""The installed wheel trains, resumes, plays and plots without the repository."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_runs import TINY, sets

ROOT = Path(__file__).parents[2]
SOURCES = ("torchrl_lite", "config", "pretrained")
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with only the wheel installed, built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source, target = folder / "source", folder / "target"
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)]
    subprocess.run([*pip, *build], check=True, timeout=240)
    (wheel,) = folder.glob("*.whl")
    shutil.rmtree(source)
    install = ["install", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run([*pip, *install], check=True, timeout=240)
    return target


def start(installed: Path, folder: Path, *command: str) -> str:
    """The output of a command that runs in ``folder`` and sees only the installed package."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_trains_plays_and_plots_from_another_directory(
    installed: Path, tmp_path: Path
) -> None:
    where = "import torchrl_lite; print(torchrl_lite.__file__)"
    assert start(installed, tmp_path, "-c", where).startswith(str(installed))
    command = str(installed / "bin" / "torchrl-lite")
    tiny = sets(TINY | {"system.workers": 1, "env.num_envs": 2, "train.num_epochs": 2})
    flags = ("--config", "mt10_tasks/reach-v3", "--id", "x", *tiny)
    start(installed, tmp_path, command, "train", "sac", *flags, "--until", "10")
    assert "resuming from frame" in start(
        installed, tmp_path, command, "train", "sac", *flags, "--resume"
    )
    run = tmp_path / "log" / "x" / "reach-v3" / "1"
    assert json.loads((run / "result.json").read_text())["epochs"] == 3
    played = start(installed, tmp_path, command, "play", "--run", str(run), "--episodes", "1")
    assert "reach-v3" in played
    play = (command, "play", "--pretrained", "door-open-v3", "--episodes", "2", "--json", "d.json")
    start(installed, tmp_path, *play)
    (door,) = json.loads((tmp_path / "d.json").read_text())["tasks"]
    assert door["success"] == 1.0
    start(installed, tmp_path, command, "plot", str(run), "--metric", "return", "--out", "c.png")
    assert (tmp_path / "c.png").stat().st_size > 1000


def test_the_wheel_has_every_shipped_file_and_no_tests(installed: Path) -> None:
    for name in ("config", "pretrained"):
        inside = installed / "torchrl_lite" / "shipped" / name
        expected = {path.relative_to(ROOT / name) for path in (ROOT / name).rglob("*.*")}
        assert {path.relative_to(inside) for path in inside.rglob("*.*")} == expected
    assert {path.name for path in installed.iterdir() if "." not in path.name} == {
        "bin",
        "torchrl_lite",
    }
