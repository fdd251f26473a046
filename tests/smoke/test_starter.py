"""The real starter on real Meta-World: what it writes, how it is stopped, what a person sees."""

import csv
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from helpers import newest_checkpoint
from processes import SHARED_MEMORY, outlive, session_of

STARTER = Path(__file__).parents[2] / "starter" / "st_sac.py"
TASK = "drawer-close-v3"
TINY = {
    "env.max_episode_frames": 20,
    "env.num_envs": 2,
    "env.group_size": 1,
    "net.hidden_shapes": [16, 16],
    "replay_buffer.size": 2000,
    "train.pretrain_epochs": 1,
    "train.num_epochs": 2,
    "train.epoch_frames": 20,
    "train.opt_steps": 3,
    "train.batch_size": 8,
    "train.eval_interval": 2,
    "train.eval_episodes": 2,
    "train.final_eval_episodes": 2,
    "system.workers": 0,
    "system.threads": 1,
}
EPOCHS, FRAMES_PER_EPOCH = 3, 40
ENDLESS = {"train__num_epochs": 100_000, "train__save_interval": 1}
LAST = ("3.rows", "3.pt", "3.json")


def environment() -> dict[str, str]:
    """Without what makes a library think that its output is, or is no, terminal."""
    told = {"FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES"}
    own = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "TERM": "xterm-256color"}
    return {key: value for key, value in os.environ.items() if key not in told} | own


def command(log_dir: Path, *flags: str, **changes: Any) -> list[str]:
    """The starter with a tiny budget; ``section__field=value`` changes a field."""
    fields = TINY | {key.replace("__", "."): value for key, value in changes.items()}
    if "--resume" in flags:  # the run has its own configuration
        fields = {key.replace("__", "."): value for key, value in changes.items()}
    sets = [part for k, v in fields.items() for part in ("--set", f"{k}={json.dumps(v)}")]
    task = [] if any(flag.startswith("--task") for flag in flags) else ["--task", TASK]
    return [sys.executable, str(STARTER), "--log_dir", str(log_dir), *task, *flags, *sets]


class Finished(NamedTuple):
    code: int
    out: str
    err: str
    folder: Path

    def rows(self) -> list[dict[str, str]]:
        """``log.csv`` without what a clock says."""
        with (self.folder / "log.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        clocks = ("time/", "rate/")
        return [{k: v for k, v in row.items() if not k.startswith(clocks)} for row in rows]

    def networks(self) -> dict[str, torch.Tensor]:
        state = torch.load(newest_checkpoint(self.folder), weights_only=True)
        return state["learner"]["networks"]


def folder_of(log_dir: Path, task: str = TASK) -> Path:
    return log_dir / "MT10_Individual_Tasks" / task / "1"


def run(log_dir: Path, *flags: str, **changes: Any) -> Finished:
    args = command(log_dir, *flags, **changes)
    done = subprocess.run(args, env=environment(), capture_output=True, text=True)
    return Finished(done.returncode, done.stdout, done.stderr, folder_of(log_dir))


Runs = Callable[..., Finished]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Finished tiny runs, each made once."""
    made: dict[str, Finished] = {}

    def get(**changes: Any) -> Finished:
        key = json.dumps(changes, sort_keys=True)
        if key not in made:
            made[key] = run(tmp_path_factory.mktemp("run"), **changes)
        return made[key]

    return get


# --- a run that finishes -------------------------------------------------------------------------


def test_a_run_ends_with_exit_code_0_and_without_complaints(runs: Runs) -> None:
    assert (runs().code, runs().err) == (0, "")


def test_a_run_leaves_the_files_of_the_contract(runs: Runs) -> None:
    files = {str(p.relative_to(runs().folder)) for p in runs().folder.rglob("*") if p.is_file()}
    events = {name for name in files if name.startswith("events.out.tfevents")}
    assert len(events) == 1
    assert files - events == {
        "params.json",
        "versions.json",
        "log.csv",
        "result.json",
        "policy.safetensors",
        *(f"checkpoint/last_{name}" for name in LAST),
        "checkpoint/best.pt",
    }


def test_the_log_has_a_row_for_every_epoch(runs: Runs) -> None:
    frames = [(int(row["epoch"]), int(row["total_frames"])) for row in runs().rows()]
    assert frames == [(n, n * FRAMES_PER_EPOCH) for n in range(1, EPOCHS + 1)]


def test_the_log_tells_updates_so_far_and_the_seconds_of_all_cores(runs: Runs) -> None:
    assert [int(row["updates"]) for row in runs().rows()] == [0, 3, 6]
    for changes in ({}, {"system__workers": 2}):
        with (runs(**changes).folder / "log.csv").open(newline="") as file:
            assert all(float(row["time/cpu_s"]) > 0 for row in csv.DictReader(file))


def test_what_was_not_measured_is_an_empty_cell(runs: Runs) -> None:
    random, evaluated, trained = runs().rows()
    assert (random["train/q1_loss"], random["eval/return"]) == ("", "")
    assert "" not in (evaluated["train/q1_loss"], evaluated["eval/return"])
    assert (trained["train/q1_loss"] != "", trained["eval/return"]) == (True, "")
    assert "nan" not in (runs().folder / "log.csv").read_text()


def test_the_result_tells_frames_updates_and_the_final_evaluation(runs: Runs) -> None:
    result = json.loads((runs().folder / "result.json").read_text())
    assert (result["frames"], result["updates"]) == (EPOCHS * FRAMES_PER_EPOCH, 6)
    names = {f"eval_success/{TASK}", f"eval_return/{TASK}", "eval/success_rate", "eval/return"}
    assert names <= result.keys()
    assert names <= runs().rows()[0].keys()


# --- the number of workers -----------------------------------------------------------------------


def assert_same_run(one: Finished, other: Finished) -> None:
    assert (one.code, other.code) == (0, 0)
    assert one.rows() == other.rows()
    networks, same = one.networks(), other.networks()
    assert networks.keys() == same.keys()
    assert all(torch.equal(networks[name], same[name]) for name in networks)


def test_workers_do_not_change_a_bit_of_a_run(runs: Runs) -> None:
    assert_same_run(runs(system__workers=2), runs())


def test_an_overlapping_run_does_not_depend_on_workers(runs: Runs) -> None:
    one, two = (runs(system__workers=n, system__overlap=True) for n in (1, 2))
    assert_same_run(one, two)


def test_an_overlapping_run_acts_with_the_policy_of_the_epoch_before(runs: Runs) -> None:
    overlapping, plain = runs(system__workers=1, system__overlap=True).rows(), runs().rows()
    returns = "rollout/ep_rew_mean"
    assert overlapping[0] == plain[0]  # random actions
    assert overlapping[1][returns] == plain[1][returns]  # the first weights, in both
    assert overlapping[2][returns] != plain[2][returns]  # one epoch old, and fresh


# --- what a person sees --------------------------------------------------------------------------


def test_output_to_a_file_is_one_line_an_epoch(runs: Runs) -> None:
    epochs = [line for line in runs().out.splitlines() if line.startswith("epoch ")]
    assert [line.split()[:2] for line in epochs] == [["epoch", str(n)] for n in (1, 2, 3)]
    assert f"frames {EPOCHS * FRAMES_PER_EPOCH}/{EPOCHS * FRAMES_PER_EPOCH}" in epochs[-1]
    assert "frames/s" in epochs[-1]


def test_output_to_a_file_has_no_escape_codes(runs: Runs) -> None:
    assert "\x1b" not in runs().out
    assert "\r" not in runs().out


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A run of a task by its number, and everything that it draws on a terminal of 100 x 30."""
    log_dir = tmp_path_factory.mktemp("terminal")
    main, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    args = command(log_dir, "--task_id", "2")
    process = subprocess.Popen(
        args, env=environment(), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    drawn = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not part:
            break
        drawn += part
    os.close(main)
    return Finished(process.wait(), drawn.decode(), "", folder_of(log_dir, "pick-place-v3"))


def test_a_task_can_be_named_by_its_number(terminal: Finished) -> None:
    assert (terminal.code, len(terminal.rows())) == (0, EPOCHS)


def test_a_terminal_shows_a_live_view(terminal: Finished) -> None:
    drawn = terminal.out
    assert re.search(r"\x1b\[\d*A", drawn)  # the cursor goes up and draws again
    assert "frames/s" in drawn
    assert "updates/s" in drawn


def test_the_live_view_ends_with_everything_done(terminal: Finished) -> None:
    last = terminal.out.rpartition("\x1b[1A")[2]
    total = EPOCHS * FRAMES_PER_EPOCH
    assert f"{total}/{total}" in terminal.out
    assert "success" in last


def test_the_live_view_gives_the_cursor_back(terminal: Finished) -> None:
    hidden, shown = terminal.out.rfind("\x1b[?25l"), terminal.out.rfind("\x1b[?25h")
    assert -1 < hidden < shown


# --- a run that is stopped -----------------------------------------------------------------------


class Stopped(NamedTuple):
    code: int
    started: int
    """ProcessPool that the run consisted of."""
    survivors: set[int]
    shared_memory: set[Path]
    """What it left in /dev/shm."""
    out: str
    err: str
    log_dir: Path


def stop(
    log_dir: Path, number: signal.Signals, *, after: str, group: bool = False, **changes: Any
) -> Stopped:
    """Starts a run without end, and sends it a signal when it has printed ``after``."""
    shared_before = set(SHARED_MEMORY.iterdir())
    with (log_dir / "stderr").open("w+") as err:
        process = subprocess.Popen(
            command(log_dir, **ENDLESS | changes),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        out = ""
        for line in process.stdout:
            out += line
            if after in line:
                break
        members = session_of(process.pid)
        if group:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)
        code = process.wait()
        survivors = outlive(members | session_of(process.pid), 30)
        shared = set(SHARED_MEMORY.iterdir()) - shared_before
        for pid in survivors:
            os.kill(pid, signal.SIGKILL)
        out += process.stdout.read()
        err.seek(0)
        return Stopped(code, len(members), survivors, shared, out, err.read(), log_dir)


def resume(stopped: Stopped) -> tuple[Finished, int]:
    """Two epochs more than the checkpoint has; the run, and the epoch it should end with."""
    last = newest_checkpoint(folder_of(stopped.log_dir))
    done = torch.load(last, weights_only=True)["epoch"]
    pretrain = int(TINY["train.pretrain_epochs"])
    finished = run(
        stopped.log_dir,
        "--resume",
        train__num_epochs=done + 2 - pretrain,
        system__workers=0,
    )
    return finished, done + 2


def assert_finishes(stopped: Stopped) -> None:
    finished, end = resume(stopped)
    assert finished.code == 0, finished.err
    assert [int(row["epoch"]) for row in finished.rows()] == list(range(1, end + 1))
    result = json.loads((finished.folder / "result.json").read_text())
    assert result["frames"] == end * FRAMES_PER_EPOCH


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    """Ctrl-C: SIGINT to the whole group, when the end of an epoch is near."""
    folder = tmp_path_factory.mktemp("interrupted")
    changes = {"system__workers": 1, "train__save_interval": 10_000}
    return stop(folder, signal.SIGINT, after="epoch 6 ", group=True, **changes)


@pytest.fixture(scope="module")
def terminated(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    """SIGTERM to the main process alone, which has no time to finish an epoch."""
    folder = tmp_path_factory.mktemp("terminated")
    changes = {"system__workers": 1, "system__grace_seconds": 0}
    return stop(folder, signal.SIGTERM, after="epoch 6 ", **changes)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    folder = tmp_path_factory.mktemp("killed")
    return stop(folder, signal.SIGKILL, after="epoch 4 ", system__workers=2)


def test_sigint_ends_a_run_with_130(interrupted: Stopped) -> None:
    assert interrupted.code == 130, interrupted.err


def test_sigterm_ends_a_run_with_143(terminated: Stopped) -> None:
    assert terminated.code == 143, terminated.err


def test_an_epoch_whose_end_is_near_is_finished_and_saved(interrupted: Stopped) -> None:
    assert "with a checkpoint; go on with --resume" in interrupted.out
    folder = folder_of(interrupted.log_dir)
    saved = torch.load(newest_checkpoint(folder), weights_only=True)
    with (folder / "log.csv").open(newline="") as file:
        assert saved["epoch"] == int(list(csv.DictReader(file))[-1]["epoch"]) >= 6


def test_a_run_that_is_stopped_prints_no_traceback(
    interrupted: Stopped, terminated: Stopped
) -> None:
    assert "Traceback" not in interrupted.err + terminated.err


def test_a_run_that_is_stopped_at_once_says_so(terminated: Stopped) -> None:
    line = terminated.err.splitlines()[-1]
    assert line == "stopped by SIGTERM; --resume goes on from the last checkpoint"


@pytest.mark.parametrize("how", ["interrupted", "terminated", "killed"])
def test_no_process_outlives_a_run_that_is_stopped(
    how: str, request: pytest.FixtureRequest
) -> None:
    stopped: Stopped = request.getfixturevalue(how)
    assert stopped.started >= 2  # there was a worker to be left behind
    assert stopped.survivors == set()


@pytest.mark.parametrize("how", ["interrupted", "terminated", "killed"])
def test_no_shared_memory_outlives_a_run_that_is_stopped(
    how: str, request: pytest.FixtureRequest
) -> None:
    assert request.getfixturevalue(how).shared_memory == set()


@pytest.mark.parametrize("how", ["interrupted", "killed"])
def test_a_run_that_was_stopped_goes_on_and_finishes(
    how: str, request: pytest.FixtureRequest
) -> None:
    assert_finishes(request.getfixturevalue(how))


def test_a_signal_while_workers_start_ends_the_run_and_them(tmp_path: Path) -> None:
    stopped = stop(tmp_path, signal.SIGTERM, after=" on cpu", system__workers=2)
    assert (stopped.code, stopped.survivors) == (143, set())
    assert "Traceback" not in stopped.err
