"""Only one process at a time uses a run directory."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import ROOT, TASK, TINY, contents, folder_in, one_line, start, tree_of

from torchrl_lite import RunError, load_config, train
from torchrl_lite.checkpoint.files import write_text
from torchrl_lite.checkpoint.lock import locked
from torchrl_lite.errors import BusyError
from torchrl_lite.reporting.tensorboard import Board

HOLDER = """
import sys
from pathlib import Path
from torchrl_lite.checkpoint.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = folder_in(tmp_path)
    folder.mkdir(parents=True)
    return folder


BUSY = "another process is working on this run"


@pytest.mark.parametrize(
    ("argv", "started", "message"),
    [([], False, BUSY), ([], True, "use --resume"), (["--resume"], True, BUSY)],
)
def test_a_second_run_is_a_one_line_error(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
    started: bool,
    message: str,
) -> None:
    if started:
        params = {"algo": "sac", "env": {"tasks": [TASK]}, "system": {"workers": 0}}
        (run / "params.json").write_text(json.dumps(params))
    before = contents(run)
    with locked(run):
        assert start(tmp_path, *argv) == 2
    one_line(capsys.readouterr().err, str(run), message)
    assert contents(run) == before


def test_another_process_is_locked_out_until_the_holder_dies(run: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    with pytest.raises(BusyError), locked(run):
        pass
    process.kill()
    process.communicate()
    with locked(run):
        assert list(run.iterdir()) == []  # the lock leaves no file


def test_a_run_that_started_and_ended_meanwhile_is_not_overwritten(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the first check of the directory and the lock."""

    def start_another_and_lock(folder: Path) -> object:
        (folder / "params.json").write_text("{}")
        return locked(folder)

    monkeypatch.setattr("torchrl_lite.training.run.locked", start_another_and_lock)
    assert start(tmp_path) == 2
    assert "--resume" in capsys.readouterr().err
    assert (run / "params.json").read_text() == "{}"


@pytest.mark.parametrize("reuse", [True, False], ids=["replaced by another run", "deleted"])
def test_a_run_ends_when_its_directory_is_moved_or_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reuse: bool
) -> None:
    """It writes nothing into the directory of a run that replaced it."""
    run, write = tmp_path / "run", Board.row

    def row_and_flush(board: Board, row: Any, *, frames: int) -> None:
        write(board, row, frames=frames)
        board.flush()  # else TensorBoard's thread may write while the directory is removed

    def after(row: dict[str, Any]) -> None:
        if row["epoch"] != 2:
            return
        if reuse:
            run.rename(tmp_path / "old")
            write_text(run / "checkpoint" / "last_9.json", "{}")
        else:
            shutil.rmtree(run)

    monkeypatch.setattr(Board, "row", row_and_flush)
    fields = TINY | {"env.tasks": [TASK], "train.num_epochs": 3, "train.snapshot_interval": 1}
    with pytest.raises(RunError, match="moved or deleted while this run was using it"):
        train(load_config(tree_of(fields)), run_dir=run, device="cpu", callback=after)
    left = ["checkpoint", "last_9.json"] if reuse else []
    assert [path.name for path in run.rglob("*")] == left
