"""What a run writes and how it resumes, checked on one tiny run."""

import json
import math
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from helpers import newest_checkpoint, sign
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import (
    ROOT,
    TASK,
    assert_same_bits,
    assert_same_run,
    contents,
    folder_in,
    one_line,
    result_of,
    rows_of,
    same_results,
    sets,
    start,
    state_of,
)
from tiny_runs import TINY as SMALLEST

from torchrl_lite.algo.registry import SECTIONS
from torchrl_lite.checkpoint import store
from torchrl_lite.checkpoint.files import write_atomically
from torchrl_lite.collector.collector import Collected, Collector
from torchrl_lite.collector.episode import EpisodeStats
from torchrl_lite.command import launch
from torchrl_lite.config import flat, load
from torchrl_lite.reporting.console import PlainView
from torchrl_lite.reporting.logger import Logger
from torchrl_lite.training import signals

FRAMES = 10
EPOCHS = 6  # the first with random actions
# An episode is longer than an epoch, so checkpoints fall within episodes.
TINY = SMALLEST | {
    "env.max_episode_frames": 15,
    "train.num_epochs": EPOCHS - 1,
    "train.eval_episodes": 2,
    "train.final_eval_episodes": 3,
    "train.save_interval": 2,
    "train.snapshot_interval": 4,
    "system.workers": "auto",
}
SETS = sets(TINY)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows: the (step, value) pairs of every name."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an uninterrupted run; read-only."""
    log_dir = tmp_path_factory.mktemp("whole")
    assert start(log_dir, *SETS) == 0
    return folder_in(log_dir)


@pytest.fixture(scope="module")
def partial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log directory of a run that stopped at frame 30; read-only."""
    log_dir = tmp_path_factory.mktemp("half")
    assert start(log_dir, *SETS, "--until", "21") == 0
    return log_dir


@pytest.fixture
def stopped(partial: Path, tmp_path: Path) -> Path:
    """A private copy of the run that stopped at frame 30."""
    shutil.copytree(partial, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def finished(full: Path, tmp_path: Path) -> Path:
    """A private copy of the finished run."""
    shutil.copytree(full, folder_in(tmp_path))
    return tmp_path


# --- the files -----------------------------------------------------------------------------------


def test_a_run_leaves_exactly_these_files(full: Path) -> None:
    files = {str(path.relative_to(full)) for path in full.rglob("*") if path.is_file()}
    events = {name for name in files if name.startswith("events.out.tfevents")}
    kept = {f"last_{epoch}.{kind}" for epoch in (4, 6) for kind in ("pt", "rows", "json")}
    kept |= {"last_2.rows", "best.pt", "epoch_4.pt"}  # rows since the start
    own = {"params.json", "versions.json", "log.csv", "result.json", "policy.safetensors"}
    assert len(events) == 1
    assert files - events == own | {f"checkpoint/{name}" for name in kept}


def test_params_hold_the_requested_and_the_resolved_settings(full: Path) -> None:
    path = full / "params.json"
    params = json.loads(path.read_text())
    asked = {"algo": "sac", "env.tasks": [TASK]} | TINY
    assert flat(params).items() >= (asked | {"system.workers": 0, "system.accel": "eager"}).items()
    assert "auto" not in [*params["system"].values(), *params["env"].values()]
    assert load(path, sections=SECTIONS).model_dump(mode="json") == params


def test_versions_record_packages_machine_and_commit(full: Path) -> None:
    kept = json.loads((full / "versions.json").read_text())
    for package in ("torch", "numpy", "gymnasium", "metaworld", "mujoco"):
        assert kept[package] == version(package)
    assert all(kept[key] for key in ("python", "torchrl_lite", "platform", "device", "cpu"))
    if (ROOT / ".git").exists():
        head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True)
        assert kept["commit"].removesuffix("-dirty") == head.strip()


# --- log.csv -------------------------------------------------------------------------------------

EVALUATION = ["eval/success_rate", "eval/return", f"eval_success/{TASK}", f"eval_return/{TASK}"]
TRAINING = [
    *("train/q1_loss", "train/q2_loss", "train/actor_loss", "train/alpha", "train/entropy"),
    *("train/critic_grad_norm", "train/actor_grad_norm"),
]


def test_every_epoch_has_a_complete_row(full: Path) -> None:
    rows = rows_of(full)
    frames = [str(FRAMES * (n + 1)) for n in range(EPOCHS)]
    first = ["epoch", "total_frames", "stage", "rollout/ep_rew_mean", "rollout/ep_len_mean"]
    assert list(rows[0])[:9] == [*first, *EVALUATION]
    assert [row["epoch"] for row in rows] == [str(n + 1) for n in range(EPOCHS)]
    assert [row["total_frames"] for row in rows] == frames
    assert [row[f"frames/{TASK}"] for row in rows] == frames
    assert not any(None in row or None in row.values() for row in rows)  # cells match the header
    assert [int(row["updates"]) for row in rows] == [0, 2, 4, 6, 8, 10]
    assert all(float(row["time/cpu_s"]) > 0 for row in rows)
    saved = [row["time/save_s"] != "" for row in rows]  # once, in the row after the save
    assert saved == [False, False, True, False, True, False]
    size = sum(path.stat().st_size for path in (full / "checkpoint").glob("last_4.*"))
    assert float(rows[4]["time/save_mb"]) == pytest.approx(size / 1e6)


def test_a_cell_is_a_finite_number_or_empty_if_not_measured(full: Path) -> None:
    first, *others = rows = rows_of(full)
    cells = [value for row in rows for value in row.values()]
    assert all(math.isfinite(float(cell)) for cell in cells if cell)
    assert {first[name] for name in TRAINING} == {""}
    assert all(row[name] for row in others for name in TRAINING)
    for row in rows:
        measured = int(row["epoch"]) % TINY["train.eval_interval"] == 0
        assert {bool(row[name]) for name in EVALUATION} == {measured}
        assert row["eval/success_rate"] == row[f"eval_success/{TASK}"]
        assert row["eval/return"] == row[f"eval_return/{TASK}"]
    lengths = [row["rollout/ep_len_mean"] for row in rows]
    assert lengths == ["", "15.0", "15.0", "", "15.0", "15.0"]  # ends at frames 15, 30, 45, 60
    assert [row["rollout/ep_rew_mean"] != "" for row in rows] == [cell != "" for cell in lengths]


# --- the logger alone ----------------------------------------------------------------------------

NAMES = ["epoch", "total_frames", "stage", "train/q1_loss", "train/alpha"]


def write_log(folder: Path, *rows: dict[str, Any], keep_until: int = 0) -> list[str]:
    """The lines of the log after these rows, read while it is still open."""
    logger = Logger(folder, NAMES, PlainView("test", [], 100), keep_until=keep_until)
    try:
        for values in rows:
            logger.dump(values, best=None)
        return (folder / "log.csv").read_text().splitlines()
    finally:
        logger.close()


def row(frames: int, **values: float | None) -> dict[str, float | int | None]:
    named = {f"train/{name}": value for name, value in values.items()}
    return {"epoch": frames // 10, "total_frames": frames, "stage": 0, **named}


def test_rows_are_readable_as_soon_as_they_are_written(tmp_path: Path) -> None:
    assert write_log(tmp_path) == [",".join(NAMES)]  # before the first epoch
    assert write_log(tmp_path, row(10, q1_loss=0.1 + 0.2))[1] == "1,10,0,0.30000000000000004,"
    with pytest.raises(KeyError, match="train/new"):
        write_log(tmp_path, row(10, new=1.0))


@pytest.mark.parametrize("value", [math.nan, -math.inf, None])
def test_a_value_that_is_not_finite_is_an_empty_cell(tmp_path: Path, value: float | None) -> None:
    assert write_log(tmp_path, row(10, q1_loss=value, alpha=1.0))[1] == "1,10,0,,1.0"
    assert "train/q1_loss" not in scalars(tmp_path)


@pytest.mark.parametrize(("keep_until", "left"), [(0, 0), (25, 2), (99, 3)])
def test_rows_after_the_checkpoint_or_cut_off_by_a_crash_are_dropped(
    tmp_path: Path, keep_until: int, left: int
) -> None:
    before = write_log(tmp_path, row(10), row(20), row(30))
    with (tmp_path / "log.csv").open("a") as file:
        file.write("4,40,0,1.")
    lines = write_log(tmp_path, row(50), keep_until=keep_until)
    assert lines == [*before[: 1 + left], "5,50,0,,"]


# --- TensorBoard and result.json -----------------------------------------------------------------

FINISHED = ("result.json", "policy.safetensors")
FINAL = {"final/success_rate", "final/return"}
"""The final evaluation, which is in ``result.json`` but in no row."""


def test_tensorboard_matches_the_log(full: Path) -> None:
    rows, shown = rows_of(full), scalars(full)
    measured = {key for row in rows for key, value in row.items() if value}
    assert shown.keys() - FINAL == measured - {"total_frames"}  # the x-axis
    for name in shown.keys() - FINAL:
        logged = [(int(row["total_frames"]), np.float32(row[name])) for row in rows if row[name]]
        assert [(step, np.float32(value)) for step, value in shown[name]] == logged, name


def test_the_result_has_counts_and_the_logged_names(full: Path) -> None:
    result = result_of(full)
    own = {"frames", "updates", "epochs", "wall_time_s", "final_eval_episodes"}
    assert (result["frames"], result["updates"]) == (FRAMES * EPOCHS, 2 * (EPOCHS - 1))
    assert result["wall_time_s"] > 0
    logged = {name for name in rows_of(full)[0] if name.startswith(("eval", "train"))}
    held_out = {name for name in result if name.startswith("held_out")}
    assert {name.replace("held_out", "eval") for name in held_out} <= logged
    assert result.keys() - own - held_out == logged
    text = (full / "result.json").read_text()
    assert "NaN" not in text and "Infinity" not in text


# --- checkpoints ---------------------------------------------------------------------------------


def test_the_last_checkpoint_is_complete_and_others_hold_only_weights(full: Path) -> None:
    params = json.loads((full / "params.json").read_text())
    last = state_of(full)
    assert sum(last["frames"]) == FRAMES * EPOCHS
    assert last["learner"]["updates"] == TINY["train.opt_steps"] * TINY["train.num_epochs"]
    assert last["learner"]["optimizers"].keys() == {"actor", "critic", "alpha"}
    assert sum(len(rows) for rows in last["buffer"]["data"]) == FRAMES * EPOCHS
    for state in (state_of(full, "best"), state_of(full, "epoch_4")):
        assert state["networks"].keys() == last["learner"]["networks"].keys()
        assert not state.keys() & {"learner", "optimizers", "buffer", "collector"}
        assert state["config"] == last["config"] == params


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(0.5, 9.0), (0.0, 9.5), (0.25, 9.5)], 20),
        ([(0.5, 1.0), (0.5, 2.0), (0.25, 9.0)], 40),
        ([(0.0, -9.0), (0.0, -8.0), (0.0, -8.0)], 40),
    ],
    ids=["success first", "return breaks ties", "first of equals"],
)
def test_the_best_checkpoint_is_chosen_by_success_then_return_across_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores: list[tuple[float, float]], best: int
) -> None:
    pairs = [*scores, (0.0, 0.0), (0.0, 0.0)]
    found = [[EpisodeStats(0, ret, length=15, success=success)] for success, ret in pairs]
    monkeypatch.setattr(Collector, "evaluate", Mock(side_effect=found))
    assert start(tmp_path, *SETS, "--until", "40") == 0
    assert start(tmp_path, "--resume") == 0
    assert state_of(folder_in(tmp_path), "best")["frames"] == best


def test_a_run_without_epochs_is_still_complete(tmp_path: Path) -> None:
    argv = ("--set", "train.num_epochs=0", "--set", "train.pretrain_epochs=0")
    assert start(tmp_path, *SETS, *argv) == 0
    assert result_of(folder_in(tmp_path))["frames"] == 0
    assert state_of(folder_in(tmp_path))["epoch"] == 0


# --- --until -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frames", "epochs"), [("29", 3), ("40", 4)])
def test_until_stops_at_the_next_epoch_end_counted_from_the_first_frame(
    stopped: Path, capsys: pytest.CaptureFixture[str], frames: str, epochs: int
) -> None:
    folder = folder_in(stopped)
    assert rows_of(folder)[-1]["total_frames"] == "30"  # with --until 21
    assert start(stopped, "--resume", "--until", frames) == 0
    assert "from frame 30" in capsys.readouterr().out
    assert len(rows_of(folder)) == epochs
    assert sum(state_of(folder)["frames"]) == FRAMES * epochs
    assert not any((folder / name).exists() for name in FINISHED)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every epoch takes 36 seconds of CPU time: 0.01 core hours."""
    clock = count(0, 36)
    monkeypatch.setattr(time, "process_time", lambda: next(clock))


@pytest.mark.usefixtures("slow")
def test_until_counts_core_time_across_resumes(tmp_path: Path, full: Path) -> None:
    folder = folder_in(tmp_path)
    for until, epochs in (("0.025h", 3), ("0.025h", 3), ("2.9min", 5), ("0.031h", 5)):
        assert start(tmp_path, *SETS, "--resume", "--until", until) == 0
        assert len(rows_of(folder)) == epochs
        assert newest_checkpoint(folder).name == f"last_{epochs}.pt"
        assert not (folder / "result.json").exists()

    assert start(tmp_path, *SETS, "--resume", "--until", "1h") == 0  # it ends earlier
    assert same_results(folder, full)


@pytest.mark.usefixtures("slow")
def test_until_counts_core_time_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = Collector.result

    def busy(self: Collector) -> Collected:
        collected = result(self)
        return collected._replace(cost=collected.cost._replace(cpu_s=18.0))

    monkeypatch.setattr(Collector, "result", busy)
    assert start(tmp_path, *SETS, "--until", "0.0299h") == 0
    assert len(rows_of(folder_in(tmp_path))) == 2


# --- --resume ------------------------------------------------------------------------------------


def test_a_run_resumed_many_times_equals_an_uninterrupted_one(tmp_path: Path, full: Path) -> None:
    folder = folder_in(tmp_path)
    assert start(tmp_path, *SETS, "--until", "10") == 0
    for frames in range(20, FRAMES * EPOCHS + 1, 10):
        before = state_of(folder)["wall_time"]
        assert start(tmp_path, "--resume", "--until", str(frames)) == 0

    assert_same_run(folder, full)
    assert_same_bits(state_of(folder, "best"), state_of(full, "best"))
    assert same_results(folder, full)
    assert result_of(folder)["wall_time_s"] > before
    ours, theirs = (
        {name: shown for name, shown in scalars(run).items() if name[:5] not in ("time/", "rate/")}
        for run in (folder, full)
    )
    assert ours == theirs


def test_a_resumed_run_reports_restoring_before_collecting(
    stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a large buffer and replaying episodes can take long."""
    phases: list[str] = []
    monkeypatch.setattr(PlainView, "phase", lambda _, name: phases.append(name))
    assert start(stopped, "--resume", "--until", "50") == 0
    assert phases[:2] == ["restoring", "collecting"]


@pytest.mark.parametrize(
    ("record", "warning"),
    [
        (lambda text: text, None),
        (
            lambda text: text.replace(f'"torch": "{version("torch")}"', '"torch": "1.0"'),
            "torch was 1.0",
        ),
        (lambda text: json.dumps(json.loads(text) | {"cpu": "a Z80"}), "cpu was a Z80"),
        (lambda text: json.dumps(json.loads(text) | {"cpu": ""}), None),
        (lambda text: text[:-9], "versions.json: is damaged"),
    ],
)
def test_resuming_warns_of_another_machine_or_version(
    stopped: Path, capsys: pytest.CaptureFixture[str], record: Any, warning: str | None
) -> None:
    """Rounding depends on both."""
    path = folder_in(stopped) / "versions.json"
    path.write_text(record(path.read_text()))
    assert start(stopped, "--resume", "--until", "31") == 0
    warned = [line for line in capsys.readouterr().out.splitlines() if "warning: " in line]
    assert len(warned) == (warning is not None)
    assert warning is None or warning in warned[0]
    assert start(stopped, "--resume", "--until", "41") == 0
    assert "warning: " not in capsys.readouterr().out  # it is recorded now


def test_a_crash_after_the_checkpoint_leaves_no_duplicates(
    partial: Path, stopped: Path, full: Path
) -> None:
    folder = folder_in(stopped)
    assert start(stopped, "--resume", "--until", "50") == 0
    shutil.rmtree(folder / "checkpoint")
    shutil.copytree(folder_in(partial) / "checkpoint", folder / "checkpoint")

    assert start(stopped, "--resume") == 0

    assert_same_run(folder, full)
    for name, points in scalars(folder).items():
        steps = [step for step, _ in points]
        assert steps == sorted(set(steps)), name
    assert scalars(folder)["epoch"] == scalars(full)["epoch"]


def test_a_crash_in_the_final_evaluation_is_recovered_from(finished: Path, full: Path) -> None:
    (folder_in(finished) / "result.json").unlink()
    assert start(finished, "--resume") == 0
    assert same_results(folder_in(finished), full)
    assert_same_run(folder_in(finished), full)


def test_a_finished_run_says_so_and_does_not_restart(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(finished)
    assert start(finished, "--resume") == 0
    assert "finished" in capsys.readouterr().out
    assert start(finished) == 2
    one_line(capsys.readouterr().err, "--resume", "--id", "--seed")
    assert contents(finished) == before


@pytest.mark.parametrize(
    "change", ["sac.alpha=0.2", "net.hidden_shapes=[16]", "system.matmul_precision=high"]
)
def test_a_disallowed_change_is_named(
    finished: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    before = contents(finished)
    assert start(finished, "--resume", "--set", change) == 2
    one_line(capsys.readouterr().err, change.split("=")[0], "train.num_epochs")  # what is allowed
    assert contents(finished) == before


def test_an_allowed_change_is_applied_and_can_be_reverted(stopped: Path) -> None:
    changes = [("train.num_epochs", 9), ("log.console", "plain"), ("log.console", "auto")]
    for key, value in changes:
        assert start(stopped, "--resume", "--until", "30", *sets({key: value})) == 0
        params = flat(json.loads((folder_in(stopped) / "params.json").read_text()))
        assert params[key] == value
    assert params["train.num_epochs"] == 9


def test_an_extended_run_keeps_its_result_until_it_goes_on(finished: Path) -> None:
    more = sets({"train.num_epochs": EPOCHS + 1})  # two more
    assert start(finished, "--resume", *more, "--until", str(FRAMES * EPOCHS)) == 0
    assert all((folder_in(finished) / name).exists() for name in FINISHED)
    assert start(finished, "--resume", "--until", str(FRAMES * EPOCHS + 1)) == 0
    assert not any((folder_in(finished) / name).exists() for name in FINISHED)


@pytest.mark.parametrize("overlap", [False, True])
def test_a_finished_run_can_be_extended(tmp_path: Path, overlap: bool) -> None:
    """With overlap, each epoch is collected with the previous epoch's policy, also the one after
    the end."""
    whole, longer = tmp_path / "whole", tmp_path / "longer"
    fields = sets(TINY | {"system.overlap": overlap, "system.workers": int(overlap)})
    assert start(whole, *fields, *sets({"train.num_epochs": 3})) == 0
    assert start(longer, *fields, *sets({"train.num_epochs": 2})) == 0
    assert start(longer, "--resume", *sets({"train.num_epochs": 3})) == 0
    assert_same_run(folder_in(longer), folder_in(whole))
    assert same_results(folder_in(longer), folder_in(whole))
    ours, theirs = (folder_in(run) / "policy.safetensors" for run in (longer, whole))
    assert ours.read_bytes() == theirs.read_bytes()


# --- what cannot be resumed ----------------------------------------------------------------------


def test_a_run_resumes_only_on_the_same_type_of_device(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its noise comes from that device's generator, and its update may need that device."""
    last = newest_checkpoint(folder_in(stopped))
    state = torch.load(last, weights_only=True)
    state["learner"]["device"] = "cuda"
    torch.save(state, last)
    sign(last)
    assert start(stopped, "--resume") == 2
    one_line(capsys.readouterr().err, "--device")

    params = folder_in(stopped) / "params.json"
    params.write_text(params.read_text().replace('"accel": "eager"', '"accel": "graph"'))
    assert start(stopped, "--resume") == 2
    one_line(capsys.readouterr().err, "system.accel")


# --- how a run ends ------------------------------------------------------------------------------


def signal_in_epoch(monkeypatch: pytest.MonkeyPatch, epoch: int, signum: signal.Signals) -> None:
    """Raises the signal when that epoch's row is written."""
    dump: Callable[..., None] = Logger.dump

    def signalled(self: Logger, row: dict[str, Any], **options: Any) -> None:
        dump(self, row, **options)
        if row["epoch"] == epoch:
            signal.raise_signal(signum)

    monkeypatch.setattr(Logger, "dump", signalled)


def test_a_signal_lets_the_epoch_finish_and_saves_it(stopped: Path, full: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        signal_in_epoch(patch, 5, signal.SIGTERM)
        assert start(stopped, "--resume") == 143
    assert sum(state_of(folder_in(stopped))["frames"]) == 50
    assert start(stopped, "--resume") == 0
    assert_same_run(folder_in(stopped), full)


def test_a_second_signal_during_a_save_damages_no_checkpoint(stopped: Path, full: Path) -> None:
    """The first lets the epoch finish; the second comes when the transitions are on disk."""
    with pytest.MonkeyPatch.context() as patch:

        def interrupted(path: Path, write: Callable[[Any], object]) -> None:
            if path.name == "last_5.pt":
                patch.setattr(signals, "time", Mock(monotonic=lambda: math.inf))
                signal.raise_signal(signal.SIGINT)
            write_atomically(path, write)

        signal_in_epoch(patch, 5, signal.SIGTERM)
        patch.setattr(store, "write_atomically", interrupted)
        assert start(stopped, "--resume") == 130
    assert sum(state_of(folder_in(stopped))["frames"]) < 50  # epoch 5 was not saved
    assert start(stopped, "--resume") == 0
    assert_same_run(folder_in(stopped), full)


def test_a_signal_in_the_last_epoch_leaves_a_finished_run(
    stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal_in_epoch(monkeypatch, EPOCHS, signal.SIGINT)
    assert start(stopped, "--resume") == 0
    assert (folder_in(stopped) / "result.json").exists()


def test_an_early_interrupt_prints_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launch, "request", Mock(side_effect=KeyboardInterrupt))
    assert start(tmp_path, *SETS) == 130
    one_line(capsys.readouterr().err)
