"""``--resume`` with parts of the run missing fails with a one-line error and changes no file."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_runs import SAVED, contents, folder_in, one_line, sets, start

from torchrl_lite import UserError, train


@pytest.fixture(scope="module")
def three_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    log_dir = tmp_path_factory.mktemp("three")
    assert start(log_dir, *sets(SAVED), "--until", "30") == 0
    return log_dir


@pytest.fixture
def folder(three_epochs: Path, tmp_path: Path) -> Path:
    """A private copy of the run directory."""
    shutil.copytree(three_epochs, tmp_path, dirs_exist_ok=True)
    return folder_in(tmp_path)


def remove(folder: Path, pattern: str) -> None:
    for path in folder.glob(pattern):
        path.unlink()


def only_log(folder: Path) -> None:
    shutil.rmtree(folder / "checkpoint")
    (folder / "params.json").unlink()


def only_weights(folder: Path) -> None:
    remove(folder, "*.*")
    remove(folder, "checkpoint/last_*")
    (folder / "checkpoint" / "best.pt").write_bytes(b"weights")


def without_versions(folder: Path) -> None:
    remove(folder, "checkpoint/*.json")
    (folder / "versions.json").unlink()


def damaged_versions(folder: Path) -> None:
    remove(folder, "checkpoint/*.json")
    (folder / "versions.json").write_text("{")


LOST: dict[str, tuple[Callable[[Path], object], str]] = {
    "params.json": (lambda f: (f / "params.json").unlink(), "params.json: is missing"),
    "half of it": (lambda f: (f / "params.json").write_text("{"), "params.json: not valid JSON"),
    "its fields": (lambda f: (f / "params.json").write_text("{}"), "params.json: env: is missing"),
    "all but log.csv": (only_log, "holds log.csv"),
    "all but weights": (only_weights, "holds checkpoint/best.pt"),
    "manifests": (lambda f: remove(f, "checkpoint/*.json"), "no complete checkpoint any more"),
    "all results": (
        lambda f: [shutil.rmtree(f / "checkpoint"), (f / "log.csv").unlink()],
        "no complete checkpoint any more; restore",
    ),
    "checkpoints": (lambda f: shutil.rmtree(f / "checkpoint"), "only log.csv"),
    "manifests and versions.json": (without_versions, "no complete checkpoint any more"),
    "manifests, and versions.json damaged": (damaged_versions, "no complete checkpoint any more"),
}


@pytest.mark.parametrize("lost", LOST)
def test_an_incomplete_run_is_rejected_and_not_changed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], lost: str
) -> None:
    lose, message = LOST[lost]
    lose(folder)
    (folder / "checkpoint").mkdir(exist_ok=True)
    (folder / "checkpoint" / ".last_4.pt.x.tmp").write_bytes(b"half")
    before = contents(folder)

    assert start(tmp_path, "--resume") == 2

    one_line(capsys.readouterr().err, message, str(folder))
    assert contents(folder) == before


def test_another_seed_is_rejected_and_the_run_not_changed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its goals and random numbers would differ from there on."""
    moved = folder.rename(folder.parent / "7")
    before = contents(moved)
    assert start(tmp_path, "--seed", "7", "--resume") == 2
    one_line(capsys.readouterr().err, "--seed", str(moved), "has seed 1, not 7")
    with pytest.raises(UserError, match="has seed 1, not 7"):
        train(moved / "params.json", seed=7, run_dir=moved, device="cpu", resume=True)
    assert contents(moved) == before


def test_a_run_that_never_had_a_checkpoint_restarts(folder: Path, tmp_path: Path) -> None:
    """A kill during the first save leaves all files but the manifest."""
    remove(folder, "checkpoint/*.json")
    versions = folder / "versions.json"
    head = json.loads(versions.read_text())
    assert head.pop("has_checkpoint") is True
    versions.write_text(json.dumps(head | {"has_checkpoint": False}))

    assert start(tmp_path, "--resume", "--until", "10") == 0

    assert json.loads(versions.read_text())["has_checkpoint"] is True
    assert len((folder / "log.csv").read_text().splitlines()) == 2
