"""Runs on Gymnasium: flags, results without success, and which packages they import."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch
from helpers import newest_checkpoint
from tiny_runs import folder_in, one_line, result_of, rows_of, short, train

from torchrl_lite.analysis import results
from torchrl_lite.analysis.runs import Run
from torchrl_lite.command.launch import main
from torchrl_lite.errors import UserError
from torchrl_lite.policies.load import load_policy
from torchrl_lite.policies.own_modules import foreign_modules, record_modules

PENDULUM = ("--config", "mujoco/pendulum")


def start(log_dir: Path, *argv: str, **changes: Any) -> int:
    return main("sac", short(log_dir, *argv, **changes))


def test_without_success_the_best_weights_have_the_highest_return(tmp_path: Path) -> None:
    folder = train(tmp_path, *PENDULUM, train__eval_interval=1)
    rows = rows_of(folder)
    assert {row["eval/success_rate"] for row in rows} == {""}
    assert {row["eval_success/Pendulum-v1"] for row in rows} == {""}
    best = torch.load(folder / "checkpoint" / "best.pt", weights_only=True)
    returns = {int(row["total_frames"]): float(row["eval/return"]) for row in rows}
    assert returns[best["frames"]] == max(returns.values())
    result = result_of(folder)
    assert result["eval/success_rate"] is None
    assert isinstance(result["eval/return"], float)
    (found,) = results.rows({"x": [Run(folder)]})
    assert (found.seeds, found.success) == (1, None)


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        ((), ["error: env.tasks: no task"]),
        (("--task", "reach-v3"), ["--task", "gymnasium", "env.tasks"]),
        (("--task_id", "3"), ["--task_id", "gymnasium", "env.tasks"]),
    ],
)
def test_a_mistake_about_the_task_writes_no_file(
    flags: tuple[str, ...], parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(tmp_path, *flags, "--set", "env.suite=gymnasium") == 2
    error = capsys.readouterr().err
    one_line(error, *parts)
    assert "push-v3" not in error  # Meta-World's tasks are not listed
    assert not list(tmp_path.iterdir())


PACKAGE = """
import gymnasium
from pathlib import Path
Path("{mark}").touch()
gymnasium.register("Foreign-v0", "gymnasium.envs.classic_control:PendulumEnv", max_episode_steps=9)
"""
IMPORTING = ("--set", "env.suite=gymnasium", "--set", 'env.tasks=["Foreign-v0"]')
NAMED = ("--set", 'env.imports=["foreign_package"]')


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package that registers ``Foreign-v0``; yields the file that its import creates."""
    (tmp_path / "foreign_package.py").write_text(PACKAGE.format(mark=tmp_path / "mark"))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "mark"
    forget()


def forget() -> None:
    """Forgets the package, as in a new process."""
    sys.modules.pop("foreign_package", None)
    gym.registry.pop("Foreign-v0", None)


@pytest.fixture
def stopped(tmp_path: Path, package: Path) -> Path:
    """A run that stopped at frame 20; its package is no longer imported."""
    assert start(tmp_path / "log", *IMPORTING, *NAMED, "--until", "20") == 0
    assert package.exists()
    package.unlink()
    forget()
    return folder_in(tmp_path / "log", "Foreign-v0")


@pytest.mark.parametrize("other", [(), ("--set", 'env.imports=["os"]')])
def test_a_stored_run_imports_nothing_by_itself(
    stopped: Path, package: Path, other: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Naming another package does not allow its own."""
    assert start(stopped.parents[2], *IMPORTING, *other, "--resume") == 2
    one_line(capsys.readouterr().err, "env.imports", "foreign_package", "--trust_imports")
    assert not package.exists()


@pytest.mark.parametrize("way", [NAMED, ("--trust_imports",)], ids=["named", "trusted"])
def test_a_stored_run_imports_what_the_user_names_or_trusts(
    stopped: Path, package: Path, way: tuple[str, ...]
) -> None:
    assert start(stopped.parents[2], *IMPORTING, *way, "--resume") == 0
    assert package.exists()
    assert (stopped / "result.json").exists()


def change_module(_run: Path, folder: Path) -> None:
    with (folder / "foreign_package.py").open("a") as file:
        file.write("\n")


def copy_run(run: Path, folder: Path) -> None:
    """To the same place, as unpacking an archive would."""
    run.rename(folder / "away")
    shutil.copytree(folder / "away", run)


def shadow_module(_run: Path, folder: Path) -> None:
    """With the same content, earlier on the path."""
    other = folder / "other"
    other.mkdir()
    shutil.copy(folder / "foreign_package.py", other)
    sys.path.insert(0, str(other))


def change_user(run: Path, folder: Path) -> None:
    """In the run's own record."""
    text = (run / "imports.json").read_text()
    user = f'"user": {folder.stat().st_uid}'
    assert user in text
    (run / "imports.json").write_text(text.replace(user, '"user": 4711'))


def remove_record(run: Path, _folder: Path) -> None:
    (run / "imports.json").unlink()


def test_the_users_own_run_imports_its_unchanged_module(stopped: Path, package: Path) -> None:
    """Only when it is loaded as a run directory."""
    assert load_policy(stopped).tasks == ("Foreign-v0",)
    assert package.exists()


def hide_module(_run: Path, folder: Path) -> None:
    (folder / "foreign_package.py").rename(folder / "elsewhere")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (change_module, "changed since the run"),
        (copy_run, "of a run from elsewhere"),
        (shadow_module, "another file"),
        (change_user, "of a run from elsewhere"),
        (remove_record, "not recorded by the run"),
        (hide_module, "no single file of yours from this directory"),
    ],
)
def test_anything_else_needs_trust_imports(
    stopped: Path, package: Path, change: Callable[[Path, Path], None], reason: str
) -> None:
    change(stopped, package.parent)
    message = rf"env.imports.*foreign_package \({reason}\); .*--trust_imports$"
    with pytest.raises(UserError, match=message):
        load_policy(stopped)
    assert not package.exists()


def test_a_package_is_never_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its other files could change."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "one_file.py").touch()
    (tmp_path / "some_files").mkdir()
    (tmp_path / "some_files" / "__init__.py").touch()
    names = ["one_file", "some_files"]
    record_modules(tmp_path, names)
    (foreign,) = foreign_modules(tmp_path, names)
    assert foreign.startswith("some_files (")


def test_a_run_initialised_from_a_stored_run_imports_nothing(
    stopped: Path, package: Path, tmp_path: Path
) -> None:
    for number, path in enumerate((stopped, newest_checkpoint(stopped))):
        init = ("--init_from", str(path))
        run = train(tmp_path / f"new{number}", *PENDULUM, *init, train__num_epochs=0)
        assert result_of(run)["origin"][0]["tasks"] == {"Pendulum-v1": "Foreign-v0"}
    assert not package.exists()
