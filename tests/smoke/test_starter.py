"""The real starter on real Meta-World: finished and stopped runs, and the terminal output."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import torch
from helpers import newest_checkpoint
from tiny_runs import ROOT, TINY, Stopped, assert_same_run, result_of, rows_of, sets, stop

from torchrl_lite.command.launch import main

TASK = "drawer-close-v3"
SMALL = TINY | {
    "env.max_episode_frames": 20,
    "env.num_envs": 2,
    "env.group_size": 1,
    "train.num_epochs": 2,
    "train.epoch_frames": 20,
}
EPOCHS, FRAMES_PER_EPOCH = 3, 40
TOTAL = EPOCHS * FRAMES_PER_EPOCH


def environment() -> dict[str, str]:
    """Without variables that override whether the output counts as a terminal."""
    removed = {"FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES"}
    own = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "TERM": "xterm-256color"}
    return {key: value for key, value in os.environ.items() if key not in removed} | own


def flags(log_dir: Path, task: str = f"--task={TASK}", **changes: Any) -> list[str]:
    """With a tiny budget; ``section__field=value`` changes a field."""
    fields = SMALL | {key.replace("__", "."): value for key, value in changes.items()}
    return ["--log_dir", str(log_dir), task, *sets(fields)]


def command(log_dir: Path, *argv: str, **changes: Any) -> list[str]:
    starter = str(ROOT / "starter" / "st_sac.py")
    return [sys.executable, starter, *flags(log_dir, *argv, **changes)]


def folder_of(log_dir: Path, task: str = TASK) -> Path:
    return log_dir / "MT10_Individual_Tasks" / task / "1"


# --- a run that finishes -------------------------------------------------------------------------


def test_a_process_with_workers_gives_the_same_run_and_prints_a_line_per_epoch(
    tmp_path: Path,
) -> None:
    args = command(tmp_path / "process", system__workers=1)
    done = subprocess.run(args, env=environment(), capture_output=True, text=True, check=False)
    assert main("sac", flags(tmp_path / "here")) == 0

    assert (done.returncode, done.stderr) == (0, "")
    assert_same_run(folder_of(tmp_path / "process"), folder_of(tmp_path / "here"))
    rows = rows_of(folder_of(tmp_path / "process"))
    assert all(float(row["time/cpu_s"]) > 0 for row in rows)
    epochs = [line for line in done.stdout.splitlines() if line.startswith("epoch ")]
    assert [line.split()[1] for line in epochs] == ["1", "2", "3"]
    assert f"frames {TOTAL}/{TOTAL}" in epochs[-1] and "frames/s" in epochs[-1]
    assert "\x1b" not in done.stdout and "\r" not in done.stdout


def test_a_terminal_shows_a_live_view_up_to_the_last_frame(tmp_path: Path) -> None:
    """In a terminal of 100 x 30 characters, with the task given by number."""
    controller, tty = pty.openpty()
    fcntl.ioctl(tty, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    args = command(tmp_path, "--task_id=2")
    process = subprocess.Popen(
        args, env=environment(), stdin=tty, stdout=tty, stderr=tty, start_new_session=True
    )
    os.close(tty)
    shown = b""
    while True:
        try:
            part = os.read(controller, 65536)
        except OSError:  # Linux raises this when the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(controller)

    assert process.wait() == 0
    assert len(rows_of(folder_of(tmp_path, "pick-place-v3"))) == EPOCHS
    drawn = shown.decode()
    assert re.search(r"\x1b\[\d*A", drawn)  # the cursor moves up to redraw
    assert all(text in drawn for text in ("frames/s", "updates/s", f"{TOTAL}/{TOTAL}"))
    assert "success" in drawn.rpartition("\x1b[1A")[2]
    assert -1 < drawn.rfind("\x1b[?25l") < drawn.rfind("\x1b[?25h")  # the cursor is shown again


# --- a run that is stopped -----------------------------------------------------------------------


def stop_run(
    log_dir: Path, number: signal.Signals, *, after: str, group: bool = False, **changes: Any
) -> Stopped:
    """Sends a signal to an endless run."""
    endless = {"train__num_epochs": 100_000, "train__save_interval": 1} | changes
    args = command(log_dir, **endless)
    stopped = stop(args, number, after=after, group=group, env=environment())
    assert "Traceback" not in stopped.err
    return stopped


def assert_resumes(folder: Path) -> None:
    """Trains for two epochs more than the checkpoint has."""
    end = torch.load(newest_checkpoint(folder), weights_only=True)["epoch"] + 2
    fields = sets({"train.num_epochs": end - 1, "system.workers": 0})
    log_dir = str(folder.parents[2])
    assert main("sac", ["--log_dir", log_dir, "--task", TASK, "--resume", *fields]) == 0
    assert [int(row["epoch"]) for row in rows_of(folder)] == list(range(1, end + 1))
    assert result_of(folder)["frames"] == end * FRAMES_PER_EPOCH


def test_ctrl_c_lets_the_epoch_finish_within_the_grace_period(tmp_path: Path) -> None:
    """SIGINT goes to the whole process group."""
    near = {"system__workers": 1, "train__save_interval": 10_000}
    stopped = stop_run(tmp_path, signal.SIGINT, after="epoch 6 ", group=True, **near)
    assert stopped.code == 130, stopped.err
    assert "checkpoint saved; continue with --resume" in stopped.out
    folder = folder_of(tmp_path)
    saved = torch.load(newest_checkpoint(folder), weights_only=True)
    assert saved["epoch"] == int(rows_of(folder)[-1]["epoch"]) >= 6


def test_sigterm_without_grace_ends_a_run_at_once(tmp_path: Path) -> None:
    """SIGTERM goes to the main process alone."""
    at_once = {"system__workers": 1, "system__grace_seconds": 0}
    stopped = stop_run(tmp_path, signal.SIGTERM, after="epoch 6 ", **at_once)
    assert stopped.code == 143, stopped.err
    last = stopped.err.splitlines()[-1]
    assert last == "stopped by SIGTERM; --resume continues from the last checkpoint"
    assert_resumes(folder_of(tmp_path))


def test_a_killed_run_leaves_no_worker_and_resumes(tmp_path: Path) -> None:
    stopped = stop_run(tmp_path, signal.SIGKILL, after="epoch 4 ", system__workers=2)
    assert stopped.code == -signal.SIGKILL
    assert stopped.processes >= 3
    assert_resumes(folder_of(tmp_path))
