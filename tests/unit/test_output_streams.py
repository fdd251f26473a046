"""Output that cannot be written does not stop training, and the log says so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import ROOT, SAVED, TASK, sets

from torchrl_lite.command.launch import main
from torchrl_lite.reporting.streams import Output

COMMAND = [sys.executable, str(ROOT / "starter" / "st_sac.py"), "--task", TASK, "--id", "x",
           "--device", "cpu", *sets(SAVED)]  # fmt: skip


def train(shell: str, log_dir: Path, **env: str) -> subprocess.CompletedProcess[bytes]:
    """``$@`` in ``shell`` is the command."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shell}", "bash", *COMMAND, "--log_dir", str(log_dir)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | env,
        capture_output=True,
        timeout=200,
        check=False,
    )


@pytest.mark.parametrize(
    ("shell", "reason"),
    [
        ('"$@" | head -2', "Broken pipe"),
        ('"$@" >&- 2>&- <&-', "closed at startup"),
        ('"$@" --set=log.console=live >/dev/full 2>&1', "No space left on device"),
    ],
)
def test_a_run_continues_when_its_output_is_closed(tmp_path: Path, shell: str, reason: str) -> None:
    """Also with an encoding that lacks characters."""
    done = train(shell, tmp_path / "läufe", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (rb"l\xe4ufe" in done.stdout) == ("head" in shell)
    folder = tmp_path / "läufe" / "x" / TASK / "1"
    assert (folder / "result.json").exists()
    assert len((folder / "log.csv").read_text().splitlines()) == 6
    board = EventAccumulator(str(folder)).Reload()
    (text,) = board.Tensors("console/text_summary")
    assert reason in text.tensor_proto.string_val[0].decode()


def test_a_locale_that_cannot_encode_the_log_directory_is_rejected(tmp_path: Path) -> None:
    """TensorBoard could not write there; the error suggests a fix."""
    done = train('"$@"', tmp_path / "läufe", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert b"--log_dir" in line and b"PYTHONUTF8=1" in line


def test_a_log_directory_that_is_not_utf_8_is_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_dir = os.fsdecode(bytes(tmp_path) + b"/\xff")
    assert main("sac", ["--task", TASK, "--log_dir", log_dir]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--log_dir" in line and "UTF-8" in line


def test_output_to_a_stream_that_another_package_closed_is_dropped(tmp_path: Path) -> None:
    with (tmp_path / "console").open("w") as stream:
        output = Output(stream)
    output.write("nobody reads this")
    output.flush()
    assert output.lost is not None and "closed file" in output.lost
