"""The parts of a sweep that do not need Ray: locks, marks, room on nodes, signals."""

import json
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from torchrl_lite.analysis.axes import Until
from torchrl_lite.checkpoint.lock import locked
from torchrl_lite.collector.worker import signals_blocked
from torchrl_lite.sweep import cluster, runner, task
from torchrl_lite.sweep.progress import Logged, Logs
from torchrl_lite.sweep.trial import Outcome, Trial


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial("st_sac", (), tmp_path, 1000, False)


PLACE = {"node": "n", "job": "j"}


def attempt(trial: Trial) -> Outcome:
    return task.attempt(trial, trial.folder, place=lambda: PLACE)


def test_a_locked_run_is_reported_and_left_alone(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeps: list[float] = []
    monkeypatch.setattr(task.time, "sleep", sleeps.append)
    (tmp_path / task.MARK).write_text("theirs")
    with locked(tmp_path):
        assert attempt(trial) == (2, f"{tmp_path}: another process is working on this run")
    assert sum(sleeps) == task.PATIENCE_S - 1
    assert [path.name for path in tmp_path.iterdir()] == [task.MARK]
    assert (tmp_path / task.MARK).read_text() == "theirs"


def test_a_run_continues_once_its_leftover_processes_end(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def train(trial: Trial, *_: object) -> int:
        seen.append(task.read_mark(trial.folder))
        return 0

    monkeypatch.setattr(task, "_train", train)
    held = locked(tmp_path)
    held.__enter__()
    monkeypatch.setattr(task.time, "sleep", lambda _: held.__exit__(None, None, None))
    assert attempt(trial) == (0, "")
    assert seen == [PLACE]
    assert task.read_mark(tmp_path) is None


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
def test_a_failure_is_reported_and_a_signal_is_retried(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: str | None
) -> None:
    def train(_trial: Trial, _cwd: Path, output: int, _started: object) -> int:
        with open(output, "wb", closefd=False) as log:
            log.write(b"epoch 1\nerror: the cause\n\n" if code in (1, 143) else b"")
        return code

    monkeypatch.setattr(task, "_train", train)
    (tmp_path / task.CONSOLE).write_text("of an attempt before\n")
    if error is None:
        with pytest.raises(task.StoppedError, match=str(code)):
            attempt(trial)
    else:
        assert attempt(trial) == (code, error)
    assert task.read_mark(tmp_path) is None


@pytest.mark.parametrize("damaged", ["{", "[]", "{}"])
def test_a_damaged_mark_is_ignored(tmp_path: Path, damaged: str) -> None:
    (tmp_path / task.MARK).write_text(damaged)
    assert task.read_mark(tmp_path) is None


@pytest.mark.parametrize(
    "damaged", [b"\xff\xfe\n1\n", b"epoch,total_frames,eval/success_rate\n1,x,\n"]
)
def test_a_damaged_log_counts_as_no_progress(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "log.csv").write_bytes(damaged)
    trial = Trial("st_sac", (), tmp_path, 1000, False)
    assert Logs().read(trial) == Logged(total_frames=1000)


def cluster_of(monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, float]]) -> cluster.Cluster:
    """A cluster of these nodes and a dead one."""
    alive = [{"Alive": True, "Resources": resources} for resources in nodes]
    dead = {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}
    ray = SimpleNamespace(nodes=lambda: [*alive, dead])
    monkeypatch.setattr(cluster, "connect", lambda *_, **__: ray)
    return cluster.Cluster("auto")


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([{"CPU": 8.0, "GPU": 1.0}], ""),
        ([{"CPU": 1.0, "GPU": 1.0}], "--cpus: 2, but the largest node has 1"),
        ([{"CPU": 8.0}], "--gpus: 0.5, but the largest node has 0"),
        ([{"CPU": 8.0}, {"CPU": 1.0, "GPU": 1.0}], "no node has 2 CPUs and 0.5 GPUs"),
    ],
)
def test_a_run_must_fit_on_one_node(
    monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, float]], message: str
) -> None:
    found = cluster_of(monkeypatch, nodes).too_small_for(cpus=2, gpus=0.5)
    assert (message in found) if message else found == ""


def test_slots_are_the_runs_that_fit_on_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [{"CPU": 5.0, "GPU": 1.0}, {"CPU": 2.0, "GPU": 4.0}, {"CPU": 9.0}]
    ray = cluster_of(monkeypatch, sizes)
    assert ray.slots(cpus=2, gpus=0.0) == 2 + 1 + 4
    assert ray.slots(cpus=2, gpus=0.5) == 2 + 1


PROBE = """
import json, os, signal, sys
blocked = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))
print(json.dumps([blocked, os.getpgid(0) == os.getpid(), os.getcwd(), sys.argv[1:]]))
sys.exit(7)
"""


def test_a_run_receives_only_its_own_signals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's processes block signals to their group, which is that of the driver."""
    command = tmp_path / "torchrl_lite" / "cli"
    command.mkdir(parents=True)
    for path in (command.parent / "__init__.py", command / "__init__.py"):
        path.touch()
    (command / "__main__.py").write_text(PROBE)
    monkeypatch.setattr(task, "ROOT", tmp_path)
    trial = Trial("st_probe", ("--seed", "3"), tmp_path, 1000, False)
    started: list[Trial] = []
    with (tmp_path / "said").open("wb") as log, signals_blocked():
        code = task._train(trial, tmp_path, log.fileno(), lambda trial, _: started.append(trial))
    assert (code, started) == (7, [trial])
    output = json.loads((tmp_path / "said").read_text())
    assert output == [[], True, str(tmp_path), ["train", "probe", "--seed", "3"]]


def test_a_run_that_ended_on_another_node_must_be_visible_here(
    trial: Trial, tmp_path: Path
) -> None:
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


def test_signals_within_a_second_count_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
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
