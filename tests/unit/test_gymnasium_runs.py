"""Runs on Gymnasium: their flags, their results without success, whose packages they import."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch
from helpers import newest_checkpoint
from tiny_runs import one_line, rows_of, short

from torchrl_lite.command.launch import main
from torchrl_lite.env import gymnasium
from torchrl_lite.errors import UserError
from torchrl_lite.policies.load import load_policy

CONFIGS = Path(__file__).parents[2] / "config" / "mujoco"


def start(
    log_dir: Path,
    config: Path | None,
    *argv: str,
    algo: str = "sac",
    many: bool = False,
    **changes: Any,
) -> int:
    named = ["--config", str(config)] if config else []
    return main(algo, short(log_dir, *named, *argv, **changes), multi_task=many)


def test_tasks_of_different_shapes_are_trained(tmp_path: Path) -> None:
    names = ["HalfCheetah-v5", "Pendulum-v1"]
    changes = {"env__tasks": names, "env__num_envs": 2, "env__group_size": 2}
    assert start(tmp_path, CONFIGS / "base.json", algo="ddpg", many=True, **changes) == 0
    trained = rows_of(tmp_path / "x" / "MT2" / "1")[-1]
    assert "" not in (trained["train/q1_loss"], trained["train/actor_loss"])
    assert [trained[f"frames/{name}"] for name in names] == ["30"] * 2


def test_without_success_the_best_is_by_return(tmp_path: Path) -> None:
    assert start(tmp_path, CONFIGS / "pendulum.json", train__eval_interval=1) == 0
    folder = tmp_path / "x" / "Pendulum-v1" / "1"
    rows = rows_of(folder)
    assert {row["eval/success_rate"] for row in rows} == {""}
    assert {row["eval_success/Pendulum-v1"] for row in rows} == {""}
    best = torch.load(folder / "checkpoint" / "best.pt", weights_only=True)
    returns = {int(row["total_frames"]): float(row["eval/return"]) for row in rows}
    assert returns[best["frames"]] == max(returns.values())
    result = json.loads((folder / "result.json").read_text())
    assert result["eval/success_rate"] is None
    assert isinstance(result["eval/return"], float)


@pytest.mark.parametrize("config", [CONFIGS / "base.json", None], ids=["config", "override"])
def test_without_a_task_the_message_says_where_to_name_it(
    config: Path | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(tmp_path, config, "--set", "env.suite=gymnasium") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: env.tasks: no task")
    assert "reach-v3" not in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--task", "reach-v3"), ["--task", "gymnasium", "env.tasks"]),
        (("--task_id", "3"), ["--task_id", "gymnasium", "env.tasks"]),
        (("--set", 'env.tasks=["CartPole-v1"]'), ["env.tasks", "CartPole-v1"]),
    ],
)
def test_a_mistake_about_the_task_leaves_nothing_behind(
    flags: tuple[str, str], told: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(tmp_path, None, *flags, "--set", "env.suite=gymnasium") == 2
    one_line(capsys.readouterr().err, *told)
    assert not list(tmp_path.iterdir())


PACKAGE = """
import gymnasium, os
from pathlib import Path
if "gymnasium_runs_mark" in os.environ:
    Path(os.environ["gymnasium_runs_mark"]).touch()
gymnasium.register("Foreign-v0", "gymnasium.envs.classic_control:PendulumEnv", max_episode_steps=9)
"""
IMPORTING = ("--set", "env.suite=gymnasium", "--set", 'env.tasks=["Foreign-v0"]')
NAMED = ("--set", 'env.imports=["foreign_package"]')


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package that registers ``Foreign-v0``; the mark that it was imported since then."""
    (tmp_path / "foreign_package.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(tmp_path))
    mark = tmp_path / "mark"
    monkeypatch.setenv("gymnasium_runs_mark", str(mark))
    yield mark
    forget()


def forget() -> None:
    """As in a new process."""
    sys.modules.pop("foreign_package", None)
    gym.registry.pop("Foreign-v0", None)
    gymnasium._shape.cache_clear()


@pytest.fixture
def stopped(tmp_path: Path, package: Path) -> Path:
    """A log directory with a run that stopped at frame 20; its package is not imported."""
    log_dir = tmp_path / "log"
    assert start(log_dir, None, *IMPORTING, *NAMED, "--until", "20") == 0
    assert package.exists()
    package.unlink()
    forget()
    return log_dir


@pytest.mark.parametrize("other", [(), ("--set", 'env.imports=["os"]')])
def test_a_stored_run_imports_nothing_by_itself(
    stopped: Path, package: Path, other: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Another package that is named does not stand for its own."""
    assert start(stopped, None, *IMPORTING, *other, "--resume") == 2
    error = capsys.readouterr().err
    assert all(word in error for word in ("env.imports", "foreign_package", "--trust_imports"))
    assert len(error.splitlines()) == 1
    assert not package.exists()


@pytest.mark.parametrize("way", [NAMED, ("--trust_imports",)], ids=["named", "trusted"])
def test_a_stored_run_imports_what_the_user_names_or_trusts(
    stopped: Path, package: Path, way: tuple[str, ...]
) -> None:
    assert start(stopped, None, *IMPORTING, *way, "--resume") == 0
    assert package.exists()
    assert (stopped / "x" / "Foreign-v0" / "1" / "result.json").exists()


def change_module(stopped: Path, package: Path) -> Path:
    with (package.parent / "foreign_package.py").open("a") as file:
        file.write("\n")
    return stopped / "x" / "Foreign-v0" / "1"


def copy_run(stopped: Path, package: Path) -> Path:
    """As an archive does it, to where the run was."""
    run = stopped / "x" / "Foreign-v0" / "1"
    run.rename(package.parent / "away")
    shutil.copytree(package.parent / "away", run)
    return run


def another_module(stopped: Path, package: Path) -> Path:
    """Of the same content, found earlier on the path."""
    other = package.parent / "other"
    other.mkdir()
    shutil.copy(package.parent / "foreign_package.py", other)
    sys.path.insert(0, str(other))
    return stopped / "x" / "Foreign-v0" / "1"


def of_another_user(stopped: Path, package: Path) -> Path:
    """What the run says about itself."""
    run = stopped / "x" / "Foreign-v0" / "1"
    text = (run / "imports.json").read_text()
    user = f'"user": {package.parent.stat().st_uid}'
    assert user in text
    (run / "imports.json").write_text(text.replace(user, '"user": 4711'))
    return run


def without_record(stopped: Path, package: Path) -> Path:  # noqa: ARG001
    run = stopped / "x" / "Foreign-v0" / "1"
    (run / "imports.json").unlink()
    return run


def test_ones_own_run_imports_its_unchanged_module(stopped: Path, package: Path) -> None:
    """Only a directory that is loaded as a run."""
    assert load_policy(stopped / "x" / "Foreign-v0" / "1").tasks == ("Foreign-v0",)
    assert package.exists()


@pytest.mark.parametrize(
    "change", [change_module, copy_run, another_module, of_another_user, without_record]
)
def test_anything_else_asks_first(
    stopped: Path, package: Path, change: Callable[[Path, Path], Path]
) -> None:
    run = change(stopped, package)
    with pytest.raises(UserError, match=r"env.imports.*foreign_package.*--trust_imports$"):
        load_policy(run)
    assert not package.exists()


def test_a_run_that_starts_from_it_imports_nothing(
    stopped: Path, package: Path, tmp_path: Path
) -> None:
    origin = stopped / "x" / "Foreign-v0" / "1"
    for number, path in enumerate((origin, newest_checkpoint(origin))):
        log_dir = tmp_path / f"new{number}"
        init = ("--init_from", str(path))
        assert start(log_dir, CONFIGS / "pendulum.json", *init, train__num_epochs=0) == 0
        result = json.loads((log_dir / "x" / "Pendulum-v1" / "1" / "result.json").read_text())
        assert result["origin"][0]["tasks"] == {"Pendulum-v1": "Foreign-v0"}
    assert not package.exists()
