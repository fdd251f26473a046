"""Weights & Biases with a fake package; ``test_wandb.py`` uses the real one."""

import json
import sys
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_runs import one_line, result_of, rows_of
from two_tasks import TASKS, assert_same_training, plain, start

from torchrl_lite.reporting import wandb as tracking

__all__ = ["plain"]  # a fixture


class Run:
    """Records what is logged."""

    def __init__(self, **given: Any) -> None:
        self.given, self.id, self.url = given, given["id"], None
        self.rows: dict[int, dict[str, Any]] = {}
        self.summary: dict[str, Any] = {}
        self.values: dict[str, Any] = {}
        self.finished = False
        self.config = SimpleNamespace(update=self._update)

    def _update(self, values: dict[str, Any], *, allow_val_change: bool) -> None:
        assert allow_val_change
        self.values.update(values)

    def log(self, row: dict[str, Any], *, step: int) -> None:
        self.rows.setdefault(step, {}).update(row)

    def finish(self) -> None:
        self.finished = True


class Package(SimpleNamespace):
    """The part of wandb that is used."""

    def __init__(self) -> None:
        self.mode, self.key, self.runs, self.broken = "offline", False, [], False
        self.torn_down = False
        super().__init__(Settings=dict, Video=lambda path, *, format: ("video", path, format))

    def setup(self, *, settings: dict[str, Any]) -> SimpleNamespace:
        assert settings["silent"]
        return SimpleNamespace(settings=SimpleNamespace(mode=self.mode))

    def login(self, *, prompt: bool, verify: bool) -> bool:
        assert verify and not prompt
        if self.broken:
            raise ConnectionError("nobody answers\nat all")
        return self.key

    def teardown(self) -> None:
        self.torn_down = True

    def init(self, **given: Any) -> Run:
        self.runs.append(Run(**given))
        return self.runs[-1]


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Package:
    package = Package()
    monkeypatch.setitem(sys.modules, "wandb", package)
    return package


def test_wandb_receives_what_is_logged(tmp_path: Path, wandb: Package, plain: Path) -> None:
    code, folder = start(tmp_path, "--track", "--run_name", "a name of two words")
    assert code == 0
    (run,) = wandb.runs
    assert run.finished
    assert (run.given["project"], run.given["name"]) == ("torchrl_lite", "a name of two words")
    assert run.values == json.loads((folder / "params.json").read_text()) | {"seed": 1}
    rows = {int(row.pop("total_frames")): row for row in rows_of(folder)}
    assert list(run.rows) == list(rows)
    for frames, row in rows.items():
        logged = {key: str(value) for key, value in run.rows[frames].items()}
        assert logged == {key: value for key, value in row.items() if value}
    result = result_of(folder)
    assert run.summary["final/return"] == result["eval/return"]
    assert run.summary[f"final_success/{TASKS[1]}"] == result[f"eval_success/{TASKS[1]}"]
    assert_same_training(folder, plain)


def test_a_resumed_run_keeps_its_id_and_a_new_run_gets_another(
    tmp_path: Path, wandb: Package
) -> None:
    assert start(tmp_path, "--track", "--until", "80", log__wandb_project="mine")[0] == 0
    assert start(tmp_path, "--track", "--resume")[0] == 0
    assert start(tmp_path, "--track", "--until", "40", "--id", "other")[0] == 0
    first, second, other = wandb.runs
    assert (first.given["project"], first.given["name"]) == ("mine", "x/two/1")
    assert first.id == second.id != other.id
    assert {run.given["resume"] for run in wandb.runs} == {"allow"}
    assert (list(first.rows), list(second.rows)) == ([40, 80], [120, 160])
    assert (first.summary, "final/return" in second.summary) == ({}, True)


@pytest.mark.parametrize(
    ("call", "hangs", "why"),
    [("log", False, "the cable"), ("finish", True, "no answer within 0.01 s")],
)
def test_a_package_that_fails_or_hangs_does_not_stop_training(
    tmp_path: Path,
    wandb: Package,
    plain: Path,
    call: str,
    hangs: bool,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    never = Event()

    def fail(*_: Any, **__: Any) -> None:
        if hangs:
            never.wait()
        raise ConnectionError("the cable\nwas cut")

    monkeypatch.setattr(Run, call, fail)
    monkeypatch.setattr(tracking, "HANGS_AFTER_S", 0.01 if hangs else 60.0)
    code, folder = start(tmp_path, "--track")
    never.set()
    assert code == 0
    assert_same_training(folder, plain)
    out = capsys.readouterr().out
    assert out.count(f"warning: Weights & Biases failed ({why}); continuing without it") == 1
    assert len(wandb.runs) == 1 and (hangs or wandb.torn_down)


# --- errors --------------------------------------------------------------------------------------


Captured = pytest.CaptureFixture[str]


def assert_rejected(tmp_path: Path, captured: Captured, *words: str) -> None:
    assert start(tmp_path, "--track")[0] == 2
    one_line(captured.readouterr().err, "--track", *words)
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("there", [None, SimpleNamespace(__path__=[])], ids=["none", "a folder"])
def test_a_missing_package_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, there: Any
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", there)
    assert_rejected(tmp_path, capsys, "wandb", "pip install")


def test_a_missing_login_is_reported(tmp_path: Path, wandb: Package, capsys: Captured) -> None:
    wandb.mode = "online"
    assert_rejected(tmp_path, capsys, "no API key", "wandb login", "WANDB_MODE")
    wandb.broken = True
    assert_rejected(tmp_path, capsys, "(nobody answers)", "WANDB_MODE=offline")
    assert not wandb.runs
    wandb.broken, wandb.key = False, True
    assert start(tmp_path, "--track", "--until", "40")[0] == 0
    assert len(wandb.runs) == 1
