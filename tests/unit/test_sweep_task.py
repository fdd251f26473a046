"""What a sweep does beside Ray: locks, marks, nodes that are too small; without Ray."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from torchrl_lite.analysis.axes import Until
from torchrl_lite.checkpoint.lock import locked
from torchrl_lite.collector.worker import signals_blocked
from torchrl_lite.sweep import runner, task
from torchrl_lite.sweep.trial import Outcome, Trial


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial("st_sac", (), tmp_path, 1000, False)


def test_a_run_that_somebody_else_works_on_is_told_and_left_alone(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(task.time, "sleep", waits.append)
    (tmp_path / task.MARK).write_text("theirs")
    with locked(tmp_path):
        code, error = task.run(trial, tmp_path)
    assert code == 2
    assert error == f"{tmp_path}: another process is working on this run"
    assert sum(waits) == task.PATIENCE_S - 1
    assert [path.name for path in tmp_path.iterdir()] == [task.MARK]
    assert (tmp_path / task.MARK).read_text() == "theirs"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (1, "error: the cause"),
        (3, "no output"),
        (-11, "killed by SIGSEGV"),
        (-15, None),
        (143, None),
    ],
)
def test_a_fault_is_told_and_a_signal_is_worth_another_start(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: str | None
) -> None:
    monkeypatch.setattr(task, "_place", lambda: {"node": "n", "job": "j"})

    def train(_trial: Trial, _cwd: Path, output: int, _started: object) -> int:
        with open(output, "wb", closefd=False) as log:
            log.write(b"epoch 1\nerror: the cause\n\n" if code in (1, 143) else b"")
        return code

    monkeypatch.setattr(task, "_train", train)
    (tmp_path / task.CONSOLE).write_text("of an attempt before\n")
    if error is None:
        with pytest.raises(task.StoppedError, match=str(code)):
            task.run(trial, tmp_path)
    else:
        assert task.run(trial, tmp_path) == (code, error)
    assert task.read_mark(tmp_path) is None


PROBE = """
import json, os, signal, sys
blocked = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))
print(json.dumps([blocked, os.getpgid(0) == os.getpid(), os.getcwd(), sys.argv[1:]]))
sys.exit(7)
"""


def test_a_run_hears_its_own_signals_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's processes block what is sent to their group, and are in the group of the driver."""
    command = tmp_path / "torchrl_lite" / "cli"
    command.mkdir(parents=True)
    for path in (command.parent / "__init__.py", command / "__init__.py"):
        path.touch()
    (command / "__main__.py").write_text(PROBE)
    monkeypatch.setattr(task, "ROOT", tmp_path)
    trial = Trial("st_probe", ("--seed", "3"), tmp_path, 1000, False)
    told: list[Trial] = []
    with (tmp_path / "said").open("wb") as log, signals_blocked():
        code = task._train(trial, tmp_path, log.fileno(), lambda trial, _: told.append(trial))
    assert (code, told) == (7, [trial])
    said = json.loads((tmp_path / "said").read_text())
    assert said == [[], True, str(tmp_path), ["train", "probe", "--seed", "3"]]


def test_what_has_ended_elsewhere_must_be_found_here(trial: Trial, tmp_path: Path) -> None:
    code, error = runner.seen_here(trial, Outcome(0, ""))
    assert code == 1
    assert error.startswith(f"ended, but {tmp_path} has no result: ")
    assert runner.seen_here(trial, Outcome(3, "why")) == (3, "why")
    (tmp_path / "log.csv").write_text("epoch\n\0,1\n")
    limited = replace(trial, until=Until("frames", 10))
    code, error = runner.seen_here(limited, Outcome(0, ""))
    assert code == 1 and error.startswith(f"{tmp_path / 'log.csv'}: is damaged")
    (tmp_path / "result.json").touch()
    assert runner.seen_here(trial, Outcome(0, "")) == (0, "")


def test_repeats_within_a_second_count_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(runner.time, "monotonic", lambda: clock[0])
    with runner.Signals() as signals:
        for number, later, again in (
            (signal.SIGTERM, 0.0, False),
            (signal.SIGINT, 0.9, False),
            (signal.SIGINT, 0.2, True),
        ):
            clock[0] += later
            signal.raise_signal(number)
            assert (signals.seen, signals.again) == (signal.SIGTERM, again)
