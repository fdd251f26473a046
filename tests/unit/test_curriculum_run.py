"""Tiny runs with a curriculum: who trains when, what is written, and how they go on."""

import csv
import io
import json
import shutil
from collections.abc import Sequence
from contextlib import redirect_stdout
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_run_directory import assert_same_bits, assert_same_run, results, state_of

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
# The stages of the epochs: two epochs of 10 frames, one of 20, three of 10, then 30 each. Task A
# leaves with the third stage and returns with the last.
STAGES = [[A], [B, A], [C], [A, B, C]]
STAGE_OF_EPOCH = [0, 0, 1, 2, 2, 3, 3, 3, 3, 3]
FRAMES_OF_EPOCH = [10, 10, 20, 10, 10, 30, 30, 30, 30, 30]
CONFIG: dict[str, Any] = {
    "env": {"name": "MT3", "tasks": TASKS, "num_envs": 3, "max_episode_frames": HORIZON},
    "net": {"kind": "multihead", "hidden_shapes": [8]},
    "replay_buffer": {"size": 900},
    "train": {
        "epoch_frames": FRAMES,
        "opt_steps": 2,
        "pretrain_epochs": 1,
        "num_epochs": EPOCHS - 1,
        "batch_size": 12,
        "eval_interval": 4,
        "eval_episodes": 1,
        "final_eval_episodes": 1,
        "save_interval": 3,
        "snapshot_interval": 1,
    },
    "curriculum": {
        "kind": "custom",
        "stages": STAGES,
        "thresholds": [0.0],
        "min_frames_per_stage": 20,
        "stage_eval_frames": 10,
        "stage_eval_episodes": CHECKS,
    },
    "system": {"threads": 1, "workers": 0},
}
EVERY_STATE = ["--set", "train.save_interval=1", "--set", "train.keep_checkpoints=10"]
Row = dict[str, str]


def start(log_dir: Path, *argv: str, algo: str = "sac", **changes: Any) -> Path:
    """Runs, and returns the directory. Changes are ``section__field=value``."""
    path = log_dir / "x.json"
    if not path.exists():
        log_dir.mkdir(parents=True, exist_ok=True)
        tree = json.loads(json.dumps(CONFIG))
        for key, value in changes.items():
            section, field = key.split("__")
            tree[section][field] = value
        path.write_text(json.dumps(tree))
    common = ["--config", str(path), "--device", "cpu", "--log_dir", str(log_dir)]
    assert main(algo, [*common, "--id", "x", *argv], multi_task=True) == 0
    return log_dir / "x" / "MT3" / "1"


def rows_of(folder: Path) -> list[Row]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def column(folder: Path, name: str) -> list[float | None]:
    return [float(row[name]) if row[name] else None for row in rows_of(folder)]


def indices(stage: Sequence[str]) -> list[int]:
    return sorted(TASKS.index(task) for task in stage)


class Recorded(NamedTuple):
    """An uninterrupted run, and what happened in it."""

    folder: Path
    shown: list[str]
    updates: list[tuple[list[int], int]]
    """Tasks and transitions of each, epoch by epoch."""
    evaluations: list[tuple[list[int], int]]
    """Tasks and episodes of each."""


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
        self: Collector, actor: Actor, tasks: Sequence[int], episodes: int
    ) -> list[EpisodeStats]:
        evaluations.append((list(tasks), episodes))
        return evaluate(self, actor, tasks, episodes)

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


# --- who trains when -----------------------------------------------------------------------------


def test_stages_follow_each_other(whole: Path) -> None:
    assert column(whole, "stage") == STAGE_OF_EPOCH


def test_an_epoch_brings_the_frames_of_its_stages_tasks(whole: Path) -> None:
    frames = [sum(FRAMES_OF_EPOCH[: count + 1]) for count in range(EPOCHS)]

    assert column(whole, "total_frames") == frames
    for task in TASKS:
        own = [FRAMES * (task in STAGES[stage]) for stage in STAGE_OF_EPOCH]
        assert column(whole, f"frames/{task}") == [sum(own[: n + 1]) for n in range(EPOCHS)]


def test_the_buffer_holds_the_frames_of_every_task(whole: Path) -> None:
    state = state_of(whole)

    assert state["buffer"]["written"] == state["frames"] == [80, 60, 70]


def test_a_stage_trains_its_own_tasks_with_its_share_of_the_batch(recorded: Recorded) -> None:
    assert recorded.updates == [(indices(STAGES[stage]), 4) for stage in STAGE_OF_EPOCH[1:]]


def test_a_task_that_leaves_drops_its_episode(tmp_path: Path) -> None:
    """B leaves in the middle of its first episode."""
    folder = start(tmp_path, *EVERY_STATE, "--until", "90")
    sites = [state_of(folder, f"last_{n}")["collector"]["sites"]["1/0"] for n in (3, 4, 6)]

    assert sites[0]["episode"] == 0
    assert len(sites[0]["position"]["actions"]) == FRAMES
    assert sites[1] == {"episode": 0, "position": None}
    assert sites[2]["episode"] == 1  # from a reset
    assert len(sites[2]["position"]["actions"]) == FRAMES


def test_training_goes_on_after_the_last_stage(whole: Path) -> None:
    result = json.loads((whole / "result.json").read_text())

    assert result["stage"] == 3
    assert result["stage/complete"] is True
    assert result["epochs"] == EPOCHS
    assert result["frames"] == sum(FRAMES_OF_EPOCH)
    assert result["updates"] == 2 * (EPOCHS - 1)


# --- checks --------------------------------------------------------------------------------------

EPOCHS_WITH_CHECKS = [2, 3, 5, 6]  # the ends of the four stages; the last one is passed at once


def test_checks_are_made_where_a_stage_can_be_passed(whole: Path) -> None:
    checked = [n + 1 for n, value in enumerate(column(whole, "stage/success")) if value is not None]

    assert checked == EPOCHS_WITH_CHECKS


def test_one_number_says_what_the_checks_cost(whole: Path) -> None:
    cost = [CHECKS * HORIZON * len(STAGES[stage]) for stage in range(4)]
    so_far = [0, cost[0], *2 * [sum(cost[:2])], sum(cost[:3]), *5 * [sum(cost)]]

    assert column(whole, "stage/check_frames") == so_far
    assert json.loads((whole / "result.json").read_text())["stage/check_frames"] == sum(cost)


def test_a_check_evaluates_the_stages_tasks_and_an_evaluation_all(recorded: Recorded) -> None:
    everything = ([0, 1, 2], 1)
    checks = [(indices(stage), CHECKS) for stage in STAGES]

    assert recorded.evaluations == [
        *checks[:2], everything, *checks[2:], everything, everything,
    ]  # fmt: skip


def test_every_evaluation_measures_all_tasks(whole: Path) -> None:
    for task in TASKS:
        measured = [value is not None for value in column(whole, f"eval_success/{task}")]
        assert measured == [(epoch + 1) % 4 == 0 for epoch in range(EPOCHS)]


def successes(monkeypatch: pytest.MonkeyPatch, checks: Sequence[float]) -> None:
    """Checks find these mean successes in turn, evaluations nothing."""
    found = iter(checks)

    def evaluate(_: Collector, _actor: Actor, tasks: Sequence[int], n: int) -> list[EpisodeStats]:
        success = next(found) if n == CHECKS else 0.0
        return [EpisodeStats(task, 0.0, HORIZON, success) for task in tasks for _ in range(n)]

    monkeypatch.setattr(Collector, "evaluate", evaluate)


@pytest.mark.parametrize(
    ("checks", "stages"),
    [
        ([0.5, 0.5, 0.5, 0.5], [0, 0, 1, 2, 2, 3, 3, 3, 3, 3]),
        ([0.4, 0.4, 0.5, 0.4, 0.5, 0.5, 0.0, 0.0], [0, 0, 0, 0, 1, 1, 2, 2, 3, 3]),
        ([0.0] * 9, [0] * 10),
    ],
)
def test_success_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checks: list[float], stages: list[int]
) -> None:
    successes(monkeypatch, checks)
    folder = start(tmp_path, curriculum__thresholds=[0.5])

    assert column(folder, "stage") == stages


def test_tasks_without_success_are_refused_when_the_first_episode_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not after all the frames that a stage needs before its first check."""
    tree = json.loads(json.dumps(CONFIG))
    pendulum = {"suite": "gymnasium", "tasks": ["Pendulum-v1"], "num_envs": 1}
    tree["env"] |= pendulum
    tree["curriculum"] |= {"stages": [["Pendulum-v1"]], "min_frames_per_stage": 1000}
    (tmp_path / "x.json").write_text(json.dumps(tree))
    argv = ["--config", str(tmp_path / "x.json"), "--log_dir", str(tmp_path), "--device", "cpu"]

    assert main("sac", argv, multi_task=True) == 2

    error = capsys.readouterr().err
    assert error.startswith("error: curriculum: ") and "Pendulum-v1" in error
    assert len(error.splitlines()) == 1
    assert len(rows_of(tmp_path / "x" / "Pendulum-v1" / "1")) == 1  # it ends in the second epoch


# --- what is written -----------------------------------------------------------------------------


def test_each_stage_that_is_passed_leaves_its_weights(whole: Path) -> None:
    for stage, epoch in enumerate(EPOCHS_WITH_CHECKS):
        ours, there = state_of(whole, f"transfer_stage{stage}"), state_of(whole, f"epoch_{epoch}")
        assert_same_bits(ours, there)


def test_each_change_is_a_line(recorded: Recorded) -> None:
    lines = [line for line in recorded.shown if " passed " in line]

    assert [line.split(" after ")[0] for line in lines] == [
        "frame 20: stage 0 passed",
        "frame 40: stage 1 passed",
        "frame 60: stage 2 passed",
        "frame 90: stage 3 passed",
    ]
    assert f"stage 1 is {A}, {B}" in lines[0]
    assert ["complete" in line for line in lines] == [False, False, False, True]


def marks(folder: Path) -> list[int]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return [event.step for event in events.Tensors("curriculum/text_summary")]


def test_each_change_is_a_mark_in_tensorboard(whole: Path) -> None:
    assert marks(whole) == [20, 40, 60, 90]


def test_the_progress_ends_at_the_end(recorded: Recorded) -> None:
    epochs = [line for line in recorded.shown if line.startswith("epoch ")]
    progress = [line.split("frames ")[1].split()[0] for line in epochs]

    # What the run would come to if its present stage stayed, then what it comes to.
    assert progress[0] == "10/100"
    assert progress[2] == "40/180"
    assert progress[-1] == "210/210"


def test_forgetting_of_every_task_is_logged_from_the_second_evaluation_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = iter([0.75, 0.5, 0.25])

    def evaluate(_: Collector, _actor: Actor, tasks: Sequence[int], n: int) -> list[EpisodeStats]:
        success = next(measured) if n == 1 else 0.0
        return [EpisodeStats(task, 0.0, HORIZON, success) for task in tasks for _ in range(n)]

    monkeypatch.setattr(Collector, "evaluate", evaluate)
    folder = start(tmp_path)
    result = json.loads((folder / "result.json").read_text())

    for task in TASKS:
        assert column(folder, f"forgetting/{task}") == [*7 * [None], 0.25, None, None]
        assert result[f"forgetting/{task}"] == 0.5


# --- going on ------------------------------------------------------------------------------------


def test_a_run_in_phases_equals_the_run_left_alone(tmp_path: Path, whole: Path) -> None:
    """Stops within stages, at their changes, within episodes."""
    start(tmp_path, "--until", "1")
    for count in (2, 4, 5, 6, EPOCHS):
        folder = start(tmp_path, "--resume", "--until", str(sum(FRAMES_OF_EPOCH[:count])))

    assert_same_run(folder, whole)
    assert marks(folder) == marks(whole)
    ours, theirs = (json.loads((path / "result.json").read_text()) for path in (folder, whole))
    assert {**ours, "wall_time_s": 0} == {**theirs, "wall_time_s": 0}


@pytest.mark.parametrize(("saved", "died"), [(10, 20), (20, 60), (50, 120)])
def test_a_run_that_died_behind_its_checkpoint_equals_the_run_left_alone(
    tmp_path: Path, whole: Path, saved: int, died: int
) -> None:
    folder = start(tmp_path, "--until", str(saved))
    shutil.copytree(folder / "checkpoint", tmp_path / "saved")
    start(tmp_path, "--resume", "--until", str(died))
    shutil.rmtree(folder / "checkpoint")
    shutil.move(tmp_path / "saved", folder / "checkpoint")

    start(tmp_path, "--resume")

    assert_same_run(folder, whole)
    assert set(marks(folder)) == set(marks(whole))  # the reader purges scalars only
    for stage in range(4):
        name = f"transfer_stage{stage}"
        assert_same_bits(state_of(folder, name), state_of(whole, name))


def test_until_stops_where_fewer_frames_come(tmp_path: Path) -> None:
    folder = start(tmp_path, "--until", "35")

    assert column(folder, "total_frames") == [10, 20, 40]
    assert len(rows_of(start(tmp_path, "--resume", "--until", "40"))) == 3


def test_whoever_waits_for_the_compiler_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the first update of each set of tasks, and again when the run goes on."""
    shown: list[str] = []
    monkeypatch.setattr(PlainView, "phase", lambda _, name: shown.append(name))
    monkeypatch.setattr(torch, "compile", lambda update, **_: update)
    monkeypatch.setenv("CXX", "true")  # there, and never called

    def learning() -> list[str]:
        phases = [name for name in shown if name in ("compiling", "updating")]
        shown.clear()
        return phases

    start(tmp_path, "--until", "80", system__accel="compile")
    first, again = "compiling", "updating"
    assert learning() == [first, first, first, again, first]
    start(tmp_path, "--resume")
    assert learning() == [first, again, again, again]


def test_a_finished_curriculum_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Though it has fewer frames than as many epochs of all tasks would bring."""
    folder = start(tmp_path)
    before = (folder / "log.csv").stat().st_mtime_ns

    start(tmp_path, "--resume")

    assert "is finished" in capsys.readouterr().out
    assert (folder / "log.csv").stat().st_mtime_ns == before


def test_the_number_of_workers_changes_no_number(tmp_path: Path, whole: Path) -> None:
    folder = start(tmp_path, "--until", "40")
    start(tmp_path, "--resume", "--set", "system.workers=2")

    assert_same_run(folder, whole)


@pytest.mark.parametrize("change", ["thresholds=[0.5]", "old_data=drop", "first_stage=1"])
def test_a_curriculum_cannot_be_changed_on_the_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    start(tmp_path, "--until", "10")
    argv = ["--config", str(tmp_path / "x.json"), "--log_dir", str(tmp_path), "--device", "cpu"]

    code = main("sac", [*argv, "--resume", "--set", f"curriculum.{change}"], multi_task=True)

    assert code == 2
    assert f"curriculum.{change.split('=')[0]}: " in capsys.readouterr().err


def test_a_curriculum_cannot_be_added_or_removed_on_the_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start(tmp_path, "--until", "10")
    argv = ["--config", str(tmp_path / "x.json"), "--log_dir", str(tmp_path), "--device", "cpu"]

    assert main("sac", [*argv, "--resume", "--set", "curriculum=null"], multi_task=True) == 2

    assert "curriculum" in capsys.readouterr().err


def test_a_run_can_start_at_a_later_stage(tmp_path: Path) -> None:
    folder = start(tmp_path, "--stage", "2", "--until", "50")

    assert column(folder, "stage") == [2, 2, 3]
    passed = {path.stem for path in (folder / "checkpoint").glob("transfer*")}
    assert passed == {"transfer_stage2", "transfer_stage3"}
    assert json.loads((folder / "params.json").read_text())["curriculum"]["first_stage"] == 2

    start(tmp_path, "--resume", "--stage", "2", "--until", "80")

    assert column(folder, "stage") == [2, 2, 3, 3]


# --- overlap -------------------------------------------------------------------------------------


def test_with_overlap_a_stage_change_takes_effect_an_epoch_later(tmp_path: Path) -> None:
    overlap = {"system__overlap": True, "system__workers": 1}
    alone = start(tmp_path / "alone", **overlap)
    assert column(alone, "stage") == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
    assert [n + 1 for n, v in enumerate(column(alone, "stage/success")) if v is not None] == [
        2, 4, 7, 9,
    ]  # fmt: skip

    start(tmp_path / "phases", "--until", "20", **overlap)  # decided, and not yet in effect
    folder = start(tmp_path / "phases", "--resume", **overlap)

    assert_same_run(folder, alone)


# --- old data ------------------------------------------------------------------------------------


@pytest.mark.parametrize("old_data", ["drop", 0.25])
def test_what_a_task_left_behind_can_be_dropped_or_have_a_weight(
    tmp_path: Path, whole: Path, old_data: Any
) -> None:
    """A and B leave with the third stage and return with the fourth."""
    alone = start(tmp_path / "alone", curriculum__old_data=old_data)
    assert state_of(alone)["buffer"]["retired"] == [30, 10, 0]
    assert results(alone)[:5] == results(whole)[:5]
    assert results(alone)[-1] != results(whole)[-1]

    for argv in (["--until", "50"], ["--resume"]):
        folder = start(tmp_path / "phases", *argv, curriculum__old_data=old_data)

    assert_same_run(folder, alone)


# --- what does not train does not move -----------------------------------------------------------


def rows_per_task(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """Everything that has a row per task, ``[T, …]``: parameters, targets and Adam's moments.

    Told by shape alone: no other size is 3 here.
    """
    state = state_of(folder, name)["learner"]
    found = dict(state["networks"])
    for name, optimizer in state["optimizers"].items():
        for index, moments in optimizer["state"].items():
            found |= {f"{name}.{index}.{key}": moments[key] for key in ("exp_avg", "exp_avg_sq")}
    by_row = {}
    for name, tensor in found.items():
        if tensor.shape == (3,):
            by_row[name] = tensor
        elif tensor.ndim > 1 and tensor.shape[1] == 3:
            by_row[name] = tensor.transpose(0, 1)
    return by_row


KINDS: dict[str, dict[str, Any]] = {
    "mlp": {"net__kind": "mlp"},
    "mlp with embeddings": {"net__kind": "mlp", "net__task_input": "embedding"},
    "multihead": {"net__kind": "multihead"},
    "multihead with embeddings": {"net__kind": "multihead", "net__task_input": "embedding"},
    "independent": {"net__kind": "independent"},
    "soft_module": {
        "net__kind": "soft_module",
        "net__soft_module": {"module_hidden": 8, "gating_hidden": 8},
    },
    **{kind: {"net__kind": kind} for kind in ("paco", "moore", "film", "care")},
}
# At least, of actor and critic a parameter and its moments, and the targets; of SAC the actor has
# no target, and there are log_alpha and its moments.
SMALLEST_NUMBER_OF_ROWS = 2 * 3 + 2


@pytest.mark.parametrize(
    ("algo", "kind"),
    [*(("sac", kind) for kind in KINDS), ("td3", "multihead"), ("ddpg", "independent")],
)
def test_what_does_not_train_does_not_move(tmp_path: Path, algo: str, kind: str) -> None:
    """From the end of stage 0 (A) through those of 1 (A, B) and 2 (C) to that of 3 (all)."""
    folder = start(tmp_path, *EVERY_STATE, "--until", "90", algo=algo, **KINDS[kind])
    states = [rows_per_task(folder, f"last_{epoch}") for epoch in EPOCHS_WITH_CHECKS]

    for stage, (before, after) in enumerate(pairwise(states), start=1):
        active = indices(STAGES[stage])
        assert before.keys() == after.keys()
        assert len(before) >= SMALLEST_NUMBER_OF_ROWS
        for task in range(3):
            same = [name for name in before if torch.equal(before[name][task], after[name][task])]
            if task in active:
                assert not {"log_alpha", "target_actor.body.head.weight"} & set(same), (stage, task)
                assert len(same) < len(before) / 2, (stage, task, same)
            else:
                assert sorted(set(before) - set(same)) == [], (stage, task)
