"""Tiny runs with a curriculum: which tasks train when, what is written, and resuming."""

import io
import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import (
    TINY,
    assert_same_bits,
    assert_same_run,
    one_line,
    result_of,
    results,
    rows_of,
    same_results,
    state_of,
    tree_of,
)

from torchrl_lite.algo import accel
from torchrl_lite.algo.learner import Learner
from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.collector.collector import Collector
from torchrl_lite.collector.episode import EpisodeStats
from torchrl_lite.command.launch import main
from torchrl_lite.network.actor import Actor
from torchrl_lite.reporting.console import PlainView

A, B, C = TASKS = ["drawer-close-v3", "window-close-v3", "window-open-v3"]
FRAMES, HORIZON, CHECKS = 10, 15, 2
EPOCHS = 10
# Two epochs of 10 frames, one of 20, two of 10, then 30 each. Task A leaves in the third stage and
# returns in the last.
STAGES = [[A], [B, A], [C], [A, B, C]]
STAGE_OF_EPOCH = [0, 0, 1, 2, 2, 3, 3, 3, 3, 3]
FRAMES_OF_EPOCH = [10, 10, 20, 10, 10, 30, 30, 30, 30, 30]
SMALL = TINY | {
    "env": {"name": "MT3", "tasks": TASKS, "num_envs": 3, "max_episode_frames": HORIZON},
    "net.kind": "multihead",
    "train.num_epochs": EPOCHS - 1,
    "train.batch_size": 12,
    "train.eval_interval": 4,
    "train.save_interval": 3,
    "train.snapshot_interval": 1,
    "curriculum": {
        "kind": "custom",
        "stages": STAGES,
        "thresholds": [0.0],
        "min_frames_per_stage": 20,
        "stage_eval_frames": 10,
        "stage_eval_episodes": CHECKS,
    },
}


def run(log_dir: Path, *argv: str, **changes: Any) -> int:
    """The exit code. ``section__field=value`` changes the file written by the first call."""
    path = log_dir / "x.json"
    if not path.exists():
        log_dir.mkdir(parents=True, exist_ok=True)
        own = {key.replace("__", "."): value for key, value in changes.items()}
        path.write_text(json.dumps(tree_of(SMALL | own)))
    common = ["--config", str(path), "--device", "cpu", "--log_dir", str(log_dir), "--id", "x"]
    return main("sac", [*common, *argv], multi_task=True)


def start(log_dir: Path, *argv: str, **changes: Any) -> Path:
    """Trains, and returns the run directory."""
    assert run(log_dir, *argv, **changes) == 0
    return log_dir / "x" / "MT3" / "1"


def column(folder: Path, name: str) -> list[float | None]:
    return [float(row[name]) if row[name] else None for row in rows_of(folder)]


def epochs_with(folder: Path, name: str) -> list[int]:
    return [n + 1 for n, value in enumerate(column(folder, name)) if value is not None]


def indices(stage: Sequence[str]) -> list[int]:
    return sorted(TASKS.index(task) for task in stage)


class Recorded(NamedTuple):
    """An uninterrupted run, and what happened in it."""

    folder: Path
    shown: list[str]
    updates: list[tuple[list[int], int]]
    """The tasks and the transitions per task, epoch by epoch."""
    evaluations: list[tuple[list[int], int]]
    """The tasks and the episodes per task of each."""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    updates: list[tuple[list[int], int]] = []
    evaluations: list[tuple[list[int], int]] = []
    run, evaluate = Learner.run, Collector.evaluate

    def recorded_run(
        self: Learner, buffer: ReplayBuffer, tasks: Sequence[int], **sizes: int
    ) -> None:
        updates.append((list(tasks), sizes["batch_size"]))
        run(self, buffer, tasks, **sizes)

    def recorded_evaluate(
        self: Collector, actor: Actor, tasks: Sequence[int], number: int, **goals: Any
    ) -> list[EpisodeStats]:
        if goals["goals"] is None:  # not the held-out goals
            evaluations.append((list(tasks), number))
        return evaluate(self, actor, tasks, number, **goals)

    shown = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(shown):
        patch.setattr(Learner, "run", recorded_run)
        patch.setattr(Collector, "evaluate", recorded_evaluate)
        folder = start(tmp_path_factory.mktemp("whole"))
    return Recorded(folder, shown.getvalue().splitlines(), updates, evaluations)


@pytest.fixture(scope="module")
def whole(recorded: Recorded) -> Path:
    """The directory of an uninterrupted run; only to be read."""
    return recorded.folder


# --- which tasks train when ----------------------------------------------------------------------


def test_an_epoch_collects_frames_of_its_stages_tasks_only(whole: Path) -> None:
    frames = [sum(FRAMES_OF_EPOCH[: count + 1]) for count in range(EPOCHS)]
    assert column(whole, "stage") == STAGE_OF_EPOCH
    assert column(whole, "total_frames") == frames
    for task in TASKS:
        own = [FRAMES * (task in STAGES[stage]) for stage in STAGE_OF_EPOCH]
        assert column(whole, f"frames/{task}") == [sum(own[: n + 1]) for n in range(EPOCHS)]
    state = state_of(whole)
    assert state["buffer"]["written"] == state["frames"] == [80, 60, 70]


def test_a_stage_trains_its_own_tasks_with_their_share_of_the_batch(recorded: Recorded) -> None:
    assert recorded.updates == [(indices(STAGES[stage]), 4) for stage in STAGE_OF_EPOCH[1:]]


# --- checks --------------------------------------------------------------------------------------

EPOCHS_WITH_CHECKS = [2, 3, 5, 6]  # the ends of the four stages; the last one is passed at once


def test_checks_run_when_a_stage_can_pass_and_their_frames_are_reported(whole: Path) -> None:
    cost = [CHECKS * HORIZON * len(STAGES[stage]) for stage in range(4)]
    so_far = [0, cost[0], *2 * [sum(cost[:2])], sum(cost[:3]), *5 * [sum(cost)]]
    assert epochs_with(whole, "stage/success") == EPOCHS_WITH_CHECKS
    assert column(whole, "stage/check_frames") == so_far
    assert result_of(whole)["stage/check_frames"] == sum(cost)


def test_a_check_evaluates_the_stages_tasks_and_an_evaluation_all_tasks(
    recorded: Recorded, whole: Path
) -> None:
    everything = ([0, 1, 2], 1)
    checks = [(indices(stage), CHECKS) for stage in STAGES]
    assert recorded.evaluations == [*checks[:2], everything, *checks[2:], everything, everything]
    for task in TASKS:
        assert epochs_with(whole, f"eval_success/{task}") == [4, 8]
        assert epochs_with(whole, f"forgetting/{task}") == [8]  # the first one has none before it
        assert isinstance(result_of(whole)[f"forgetting/{task}"], float)


def test_tasks_that_report_no_success_are_rejected_after_the_first_episode(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not only after the frames that a stage needs before its first check."""
    pendulum = {"env__suite": "gymnasium", "env__tasks": ["Pendulum-v1"], "env__num_envs": 1}
    stage = {"curriculum__stages": [["Pendulum-v1"]], "curriculum__min_frames_per_stage": 1000}
    assert run(tmp_path, **pendulum, **stage) == 2
    one_line(capsys.readouterr().err, "error: curriculum: ", "Pendulum-v1")
    assert len(rows_of(tmp_path / "x" / "Pendulum-v1" / "1")) == 1  # it ends in the second epoch


# --- what is written -----------------------------------------------------------------------------


def test_each_passed_stage_saves_its_weights(whole: Path) -> None:
    for stage, epoch in enumerate(EPOCHS_WITH_CHECKS):
        one, other = state_of(whole, f"transfer_stage{stage}"), state_of(whole, f"epoch_{epoch}")
        assert_same_bits(one, other)


def marks(folder: Path) -> list[int]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return [event.step for event in events.Tensors("curriculum/text_summary")]


def test_each_passed_stage_is_printed_and_marked_in_tensorboard(recorded: Recorded) -> None:
    lines = [line for line in recorded.shown if " passed " in line]

    assert [line.split(" after ")[0] for line in lines] == [
        "frame 20: stage 0 passed",
        "frame 40: stage 1 passed",
        "frame 60: stage 2 passed",
        "frame 90: stage 3 passed",
    ]
    assert f"stage 1 is {A}, {B}" in lines[0]
    assert ["complete" in line for line in lines] == [False, False, False, True]
    assert marks(recorded.folder) == [20, 40, 60, 90]


def test_the_progress_ends_at_the_true_total(recorded: Recorded) -> None:
    """Until then, the total assumes that the run stays in the latest stage: after the third epoch,
    seven epochs of one task."""
    lines = [line for line in recorded.shown if line.startswith("epoch ")]
    progress = [line.split("frames ")[1].split()[0] for line in lines]
    assert (progress[0], progress[2], progress[-1]) == ("10/100", "40/110", "210/210")


def test_waiting_for_the_compiler_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first update of each set of tasks."""
    shown: list[str] = []
    monkeypatch.setattr(PlainView, "phase", lambda _, name: shown.append(name))
    monkeypatch.setattr(torch, "compile", lambda update, **_: update)
    monkeypatch.setattr(accel, "prepare", lambda _: None)
    monkeypatch.setenv("CXX", "true")  # exists, but is never called
    start(tmp_path, "--until", "80", system__accel="compile")
    phases = [name for name in shown if name in ("compiling", "updating")]
    assert phases == [*3 * ["compiling"], "updating", "compiling"]


# --- resuming ------------------------------------------------------------------------------------


def test_an_interrupted_run_equals_an_uninterrupted_one(tmp_path: Path, whole: Path) -> None:
    """It stops within stages, at changes of stage, and within episodes."""
    start(tmp_path, "--until", "1")
    for count in (4, 6, EPOCHS):
        folder = start(tmp_path, "--resume", "--until", str(sum(FRAMES_OF_EPOCH[:count])))
    assert_same_run(folder, whole)
    assert marks(folder) == marks(whole)
    assert same_results(folder, whole)


def test_a_run_can_start_at_a_later_stage_but_not_change_it_on_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = start(tmp_path, "--stage", "2", "--until", "50")
    assert column(folder, "stage") == [2, 2, 3]
    passed = {path.stem for path in (folder / "checkpoint").glob("transfer*")}
    assert passed == {"transfer_stage2", "transfer_stage3"}
    assert json.loads((folder / "params.json").read_text())["curriculum"]["first_stage"] == 2
    for change, *more in (
        ("curriculum.old_data=drop", "--stage", "2"),
        ("curriculum.first_stage=1",),
        ("curriculum=null",),
    ):
        assert run(tmp_path, "--resume", "--set", change, *more) == 2
        assert change.split("=")[0] in capsys.readouterr().err
    start(tmp_path, "--resume", "--stage", "2", "--until", "80")
    assert column(folder, "stage") == [2, 2, 3, 3]


# --- overlap -------------------------------------------------------------------------------------


def test_with_overlap_a_stage_change_takes_effect_an_epoch_later(tmp_path: Path) -> None:
    folder = start(tmp_path, system__overlap=True, system__workers=1)
    assert column(folder, "stage") == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
    assert epochs_with(folder, "stage/success") == [2, 4, 7, 9]


def test_old_data_of_a_task_can_have_a_weight(tmp_path: Path, whole: Path) -> None:
    """A and B leave in the third stage and return in the fourth."""
    folder = start(tmp_path, curriculum__old_data=0.25)
    assert state_of(folder)["buffer"]["retired"] == [30, 10, 0]
    assert results(folder)[:5] == results(whole)[:5]
    assert results(folder)[-1] != results(whole)[-1]
