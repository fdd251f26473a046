"""One process at a time in a run directory."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_runs import ROOT, TASK, contents, folder_in, one_line, start

from torchrl_lite.checkpoint.lock import locked
from torchrl_lite.errors import BusyError

HOLDER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from torchrl_lite.checkpoint.lock import locked
with locked(Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = folder_in(tmp_path)
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(("argv", "begun"), [((), False), ((), True), (("--resume",), True)])
def test_a_second_run_is_refused_in_one_line(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    argv: tuple[str, ...],
    begun: bool,
) -> None:
    if begun:
        params = {"algo": "sac", "env": {"tasks": [TASK]}, "system": {"workers": 0}}
        (run / "params.json").write_text(json.dumps(params))
    before = contents(run)
    with locked(run):
        assert start(tmp_path, *argv) == 2
    error = capsys.readouterr().err
    one_line(error, str(run))
    assert ("another process is working on this run" in error) == (not begun or bool(argv))
    assert contents(run) == before


def test_another_process_is_refused_until_a_crash_frees_the_lock(run: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(ROOT), str(run)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    with pytest.raises(BusyError), locked(run):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with locked(run):
        assert list(run.iterdir()) == []  # nor a file


def test_a_run_that_began_and_ended_meanwhile_is_not_overwritten(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the first look at the directory and the lock."""

    def late(folder: Path) -> object:
        (folder / "params.json").write_text("{}")
        return locked(folder)

    monkeypatch.setattr("torchrl_lite.training.run.locked", late)
    assert start(tmp_path) == 2
    assert "--resume" in capsys.readouterr().err
    assert (run / "params.json").read_text() == "{}"
