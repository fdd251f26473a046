"""A tiny run of two tasks, whose films, curves and tracking are tested."""

from pathlib import Path
from typing import Any

import pytest
from tiny_runs import ROOT, assert_same_run, same_results, short

from torchrl_lite.command.launch import main

TASKS = ["drawer-close-v3", "reach-v3"]
FRAMES = 40  # an epoch
CHANGES: dict[str, Any] = {
    "env__name": "two",
    "env__tasks": TASKS,
    "env__num_envs": 4,
    "env__group_size": 2,
    "env__max_episode_frames": 9,
    "train__num_epochs": 3,
    "train__eval_interval": 1,
}


def start(folder: Path, *flags: str, **changes: Any) -> tuple[int, Path]:
    """Exit code and run directory."""
    config = ("--config", ROOT / "config" / "mt10.json", *flags)
    argv = short(folder / "log", *config, **CHANGES | changes)
    return main("sac", argv, multi_task=True), folder / "log" / "x" / "two" / "1"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without videos and tracking."""
    code, folder = start(tmp_path_factory.mktemp("plain"))
    assert code == 0
    return folder


def assert_same_training(ours: Path, theirs: Path) -> None:
    assert_same_run(ours, theirs)
    assert same_results(ours, theirs)
