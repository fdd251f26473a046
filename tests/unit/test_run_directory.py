"""What a run writes, and how it goes on after a stop: one tiny run, looked at from all sides."""

import csv
import json
import math
import os
import shutil
import signal
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import complete_state, newest_checkpoint, sign
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from torchrl_lite.algo.registry import ALGORITHMS
from torchrl_lite.checkpoint.store import Store
from torchrl_lite.collector.collector import Collector
from torchrl_lite.collector.episode import EpisodeStats
from torchrl_lite.command import launch
from torchrl_lite.command.launch import main
from torchrl_lite.config import load
from torchrl_lite.errors import CheckpointError
from torchrl_lite.reporting.console import PlainView
from torchrl_lite.reporting.logger import Logger
from torchrl_lite.training import signals
from torchrl_lite.training.rl_algo import RLAlgo

TASK = "reach-v3"
FRAMES = 10
EPOCHS = 6  # the first of random actions
# An episode is longer than an epoch: checkpoints lie within episodes.
TINY = {
    "env.max_episode_frames": 15,
    "net.hidden_shapes": [8],
    "replay_buffer.size": 1000,
    "train.epoch_frames": FRAMES,
    "train.opt_steps": 2,
    "train.pretrain_epochs": 1,
    "train.num_epochs": EPOCHS - 1,
    "train.batch_size": 8,
    "train.eval_interval": 2,
    "train.eval_episodes": 2,
    "train.final_eval_episodes": 3,
    "train.save_interval": 2,
    "train.snapshot_interval": 4,
    "system.threads": 1,
}
SECTIONS = {name: section for name, (_, section) in ALGORITHMS.items()}
Row = dict[str, str]


def overrides() -> list[str]:
    return [text for key, value in TINY.items() for text in ("--set", f"{key}={json.dumps(value)}")]


def start(log_dir: Path, *argv: str) -> int:
    """The exit code; as the interpreter does it, 1 where an exception comes out."""
    common = ["--task", TASK, "--device", "cpu", "--id", "x", "--log_dir", str(log_dir)]
    try:
        return main("sac", [*common, *argv])
    except Exception as error:
        print(error)
        return 1


def folder_in(log_dir: Path) -> Path:
    return log_dir / "x" / TASK / "1"


def rows_of(folder: Path) -> list[Row]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def results(folder: Path) -> list[Row]:
    """The rows without what depends on the clock."""
    return [
        {key: value for key, value in row.items() if not key.startswith(("time/", "rate/"))}
        for row in rows_of(folder)
    ]


def state_of(folder: Path, name: str = "last") -> dict[str, Any]:
    if name == "last":
        return complete_state(folder)
    return torch.load(folder / "checkpoint" / f"{name}.pt", weights_only=True)


def assert_same_bits(a: Any, b: Any, where: str = "state") -> None:
    """Equal to the last bit, tensors anywhere in them included."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key, value in a.items():
            assert_same_bits(value, b[key], f"{where}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), where
        for index, value in enumerate(a):
            assert_same_bits(value, b[index], f"{where}[{index}]")
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype, where
        assert torch.equal(a, b), where
    else:
        assert a == b, where


def assert_same_run(folder: Path, whole: Path) -> None:
    """The same numbers and the same final state as an uninterrupted run."""
    assert results(folder) == results(whole)
    ours, theirs = state_of(folder), state_of(whole)
    for state in (ours, theirs):
        state.pop("wall_time")
        state.pop("config")
    assert_same_bits(ours, theirs)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows: (step, value) of every name."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run from its first frame to its last; only to be read."""
    log_dir = tmp_path_factory.mktemp("whole")
    assert start(log_dir, *overrides()) == 0
    return folder_in(log_dir)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log directory of a run that stopped at frame 30; only to be read."""
    log_dir = tmp_path_factory.mktemp("half")
    assert start(log_dir, *overrides(), "--until", "21") == 0
    return log_dir


@pytest.fixture(scope="module")
def resumed(half: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the run that stopped at frame 30 and went on to its end."""
    log_dir = tmp_path_factory.mktemp("resumed")
    shutil.copytree(half, log_dir, dirs_exist_ok=True)
    assert start(log_dir, "--resume") == 0
    return folder_in(log_dir)


@pytest.fixture(scope="module")
def crashed(half: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that died at frame 50, with a checkpoint of frame 30, and went on."""
    log_dir = tmp_path_factory.mktemp("crashed")
    shutil.copytree(half, log_dir, dirs_exist_ok=True)
    assert start(log_dir, "--resume", "--until", "50") == 0
    old, folder = folder_in(half) / "checkpoint", folder_in(log_dir)
    shutil.rmtree(folder / "checkpoint")
    shutil.copytree(old, folder / "checkpoint")
    assert start(log_dir, "--resume") == 0
    return folder


@pytest.fixture
def stopped(half: Path, tmp_path: Path) -> Path:
    """A log directory of one's own with the run that stopped at frame 30."""
    shutil.copytree(half, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def finished(whole: Path, tmp_path: Path) -> Path:
    """A log directory of one's own with the run that is finished."""
    shutil.copytree(whole, folder_in(tmp_path))
    return tmp_path


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> list[RLAlgo]:
    """The runs that would have trained; none does."""
    runs: list[RLAlgo] = []

    def train(self: RLAlgo) -> bool:
        runs.append(self)
        return True

    monkeypatch.setattr(RLAlgo, "train", train)
    return runs


# --- the files -----------------------------------------------------------------------------------


def test_a_run_has_its_files(whole: Path) -> None:
    there = {path.name for path in whole.iterdir()}

    assert there >= {"params.json", "versions.json", "log.csv", "checkpoint", "result.json",
                     "policy.safetensors"}  # fmt: skip
    assert [name for name in there if name.startswith("events.out.tfevents")]


def test_no_temporary_file_is_left(whole: Path) -> None:
    assert not [path for path in whole.rglob("*") if path.name.startswith(".")]


def test_params_hold_what_was_asked_for(whole: Path) -> None:
    params = json.loads((whole / "params.json").read_text())

    for key, value in TINY.items():
        section, field = key.split(".")
        assert params[section][field] == value, key
    assert params["env"]["tasks"] == [TASK]


def test_params_name_the_algorithm(whole: Path) -> None:
    assert json.loads((whole / "params.json").read_text())["algo"] == "sac"


def test_nothing_in_params_depends_on_the_machine_any_more(whole: Path) -> None:
    params = json.loads((whole / "params.json").read_text())

    assert "auto" not in params["system"].values()
    assert "auto" not in params["env"].values()
    assert params["system"]["workers"] == 0
    assert params["system"]["accel"] == "eager"


def test_params_are_a_configuration(whole: Path) -> None:
    config = load(whole / "params.json", sections=SECTIONS)

    assert config.model_dump(mode="json") == json.loads((whole / "params.json").read_text())


def test_params_start_the_same_run_again(whole: Path, tmp_path: Path) -> None:
    assert start(tmp_path, "--config", str(whole / "params.json")) == 0

    assert_same_run(folder_in(tmp_path), whole)


@pytest.mark.parametrize("package", ["torch", "numpy", "gymnasium", "metaworld", "mujoco"])
def test_versions_of_what_the_numbers_depend_on_are_kept(whole: Path, package: str) -> None:
    assert json.loads((whole / "versions.json").read_text())[package] == version(package)


@pytest.mark.parametrize("key", ["python", "torchrl_lite", "platform", "device"])
def test_the_machine_is_kept(whole: Path, key: str) -> None:
    assert json.loads((whole / "versions.json").read_text())[key]


# --- log.csv -------------------------------------------------------------------------------------

BEFORE_TRAINING = [
    "epoch",
    "total_frames",
    "stage",
    "rollout/ep_rew_mean",
    "rollout/ep_len_mean",
    "eval/success_rate",
    "eval/return",
    f"eval_success/{TASK}",
    f"eval_return/{TASK}",
    f"frames/{TASK}",
]
TRAINING = [
    "train/q1_loss",
    "train/q2_loss",
    "train/actor_loss",
    "train/alpha",
    "train/entropy",
    "train/critic_grad_norm",
    "train/actor_grad_norm",
]


def header_of(folder: Path) -> list[str]:
    return (folder / "log.csv").read_text().splitlines()[0].split(",")


def test_the_header_holds_the_promised_names_in_their_order(whole: Path) -> None:
    promised = [*BEFORE_TRAINING, *TRAINING]

    assert [name for name in header_of(whole) if name in promised] == promised


def test_nothing_stands_between_the_promised_names(whole: Path) -> None:
    header = header_of(whole)
    end = next(index for index, name in enumerate(header) if name.startswith("train/"))

    assert header[:end] == BEFORE_TRAINING


def test_after_the_training_come_times_rates_and_then_lengths(whole: Path) -> None:
    header = header_of(whole)
    kinds = [name.split("/")[0] for name in header[header.index("train/q1_loss") :]]

    order = ["train", "time", "rate", "time", "updates", "eval", "eval_length"]
    assert [kind for kind, _ in groupby(kinds)] == order
    assert header[header.index("updates") - 1] == "time/cpu_s"


def test_no_name_stands_twice_in_the_header(whole: Path) -> None:
    header = header_of(whole)

    assert len(set(header)) == len(header)


def test_there_is_a_row_for_every_epoch(whole: Path) -> None:
    assert [row["epoch"] for row in rows_of(whole)] == [str(n + 1) for n in range(EPOCHS)]


def test_every_row_has_every_cell(whole: Path) -> None:
    lines = (whole / "log.csv").read_text().splitlines()

    assert {line.count(",") for line in lines} == {len(header_of(whole)) - 1}


def test_frames_are_counted(whole: Path) -> None:
    frames = [str(FRAMES * (n + 1)) for n in range(EPOCHS)]

    assert [row["total_frames"] for row in rows_of(whole)] == frames
    assert [row[f"frames/{TASK}"] for row in rows_of(whole)] == frames


def test_every_cell_is_a_finite_number_or_empty(whole: Path) -> None:
    cells = [value for row in rows_of(whole) for value in row.values()]

    assert "" in cells
    assert all(math.isfinite(float(cell)) for cell in cells if cell)


def test_losses_are_empty_while_actions_are_random(whole: Path) -> None:
    first, *others = rows_of(whole)

    assert {first[name] for name in TRAINING} == {""}
    assert all(row[name] for row in others for name in TRAINING)


def test_evaluations_are_empty_between_them(whole: Path) -> None:
    names = ["eval/success_rate", "eval/return", f"eval_success/{TASK}", f"eval_return/{TASK}"]

    for row in rows_of(whole):
        measured = int(row["epoch"]) % TINY["train.eval_interval"] == 0
        assert {bool(row[name]) for name in names} == {measured}


def test_returns_are_empty_where_no_episode_ended(whole: Path) -> None:
    """Episodes of 15 frames end in the epochs that hold frame 15, 30, 45 and 60."""
    ended = [bool(row["rollout/ep_rew_mean"]) for row in rows_of(whole)]

    assert ended == [False, True, True, False, True, True]


def test_an_episodes_length_is_its_time_limit(whole: Path) -> None:
    lengths = {row["rollout/ep_len_mean"] for row in rows_of(whole)} - {""}

    assert {float(length) for length in lengths} == {TINY["env.max_episode_frames"]}


def test_the_mean_over_one_task_is_that_tasks(whole: Path) -> None:
    for row in rows_of(whole):
        assert row["eval/success_rate"] == row[f"eval_success/{TASK}"]
        assert row["eval/return"] == row[f"eval_return/{TASK}"]


# --- the logger by itself ------------------------------------------------------------------------

NAMES = ["epoch", "total_frames", "stage", "train/q1_loss", "train/alpha"]


def logger_in(folder: Path, *, keep_until: int = 0) -> Logger:
    folder.mkdir(exist_ok=True)
    return Logger(folder, NAMES, PlainView("test", [], 100), keep_until=keep_until)


def row(frames: int, **values: float | None) -> dict[str, float | int | None]:
    named = {f"train/{name}": value for name, value in values.items()}
    return {"epoch": frames // 10, "total_frames": frames, "stage": 0, **named}


def test_the_header_is_there_before_the_first_epoch(tmp_path: Path) -> None:
    logger_in(tmp_path).close()

    assert (tmp_path / "log.csv").read_text() == ",".join(NAMES) + "\n"


def test_a_row_can_be_read_as_soon_as_it_is_written(tmp_path: Path) -> None:
    logger = logger_in(tmp_path)
    logger.dump(row(10, q1_loss=0.5), best=None)
    text = (tmp_path / "log.csv").read_text()
    logger.close()

    assert text.splitlines()[1] == "1,10,0,0.5,"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_what_is_no_number_is_an_empty_cell(tmp_path: Path, value: float | None) -> None:
    logger = logger_in(tmp_path)
    logger.dump(row(10, q1_loss=value, alpha=1.0), best=None)
    logger.close()

    assert (tmp_path / "log.csv").read_text().splitlines()[1] == "1,10,0,,1.0"
    assert "train/q1_loss" not in scalars(tmp_path)


def test_a_number_keeps_all_its_digits(tmp_path: Path) -> None:
    value = 0.1 + 0.2
    logger = logger_in(tmp_path)
    logger.dump(row(10, q1_loss=value), best=None)
    logger.close()

    assert float(rows_of(tmp_path)[0]["train/q1_loss"]) == value


def test_a_name_that_is_not_in_the_header_is_an_error(tmp_path: Path) -> None:
    logger = logger_in(tmp_path)
    with pytest.raises(KeyError, match="train/new"):
        logger.dump(row(10, new=1.0), best=None)
    logger.close()


@pytest.mark.parametrize(("keep_until", "left"), [(0, 0), (10, 1), (25, 2), (30, 3), (99, 3)])
def test_rows_behind_the_checkpoint_are_dropped(tmp_path: Path, keep_until: int, left: int) -> None:
    logger = logger_in(tmp_path)
    for frames in (10, 20, 30):
        logger.dump(row(frames, alpha=1.0), best=None)
    logger.close()

    logger_in(tmp_path, keep_until=keep_until).close()

    assert len(rows_of(tmp_path)) == left


@pytest.mark.parametrize("torn", ["4", "4,", "4,4", "4,40", "4,40,0,1.", ","])
def test_a_row_that_was_torn_by_a_crash_is_dropped(tmp_path: Path, torn: str) -> None:
    logger = logger_in(tmp_path)
    for frames in (10, 20):
        logger.dump(row(frames, alpha=1.0), best=None)
    logger.close()
    with (tmp_path / "log.csv").open("a") as file:
        file.write(torn)

    logger = logger_in(tmp_path, keep_until=20)
    logger.dump(row(30, alpha=1.0), best=None)
    logger.close()

    assert [row["total_frames"] for row in rows_of(tmp_path)] == ["10", "20", "30"]


# --- TensorBoard ---------------------------------------------------------------------------------

FINAL = {"final/success_rate", "final/return"}
"""The last evaluation, which is in ``result.json`` and in no row."""


def test_tensorboard_shows_the_names_of_the_log(whole: Path) -> None:
    measured = {key for row in rows_of(whole) for key, value in row.items() if value}

    assert set(scalars(whole)) - FINAL == measured - {"total_frames"}  # that is its axis


def test_tensorboard_shows_the_values_of_the_log(whole: Path) -> None:
    rows = rows_of(whole)

    for name, points in scalars(whole).items():
        if name in FINAL:
            continue
        logged = [(int(row["total_frames"]), np.float32(row[name])) for row in rows if row[name]]
        assert [(step, np.float32(value)) for step, value in points] == logged, name


# --- result.json ---------------------------------------------------------------------------------


def test_the_result_counts_frames_and_updates(whole: Path) -> None:
    result = json.loads((whole / "result.json").read_text())

    assert result["frames"] == FRAMES * EPOCHS
    assert result["updates"] == TINY["train.opt_steps"] * TINY["train.num_epochs"]
    assert result["wall_time_s"] > 0


def test_the_result_names_evaluation_and_last_updates_as_the_log_does(whole: Path) -> None:
    result = json.loads((whole / "result.json").read_text())
    own = {"frames", "updates", "epochs", "wall_time_s", "final_eval_episodes"}

    logged = {name for name in header_of(whole) if name.startswith(("eval", "train"))}
    assert result.keys() - own == logged


def test_the_result_has_no_nan(whole: Path) -> None:
    text = (whole / "result.json").read_text()

    assert all(word not in text for word in ("NaN", "Infinity"))


# --- checkpoints ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["last", "best", "epoch_4"])
def test_a_checkpoint_loads_without_executing_anything(whole: Path, name: str) -> None:
    assert state_of(whole, name)


def test_the_last_checkpoint_is_complete(whole: Path) -> None:
    state = state_of(whole)

    assert sum(state["frames"]) == FRAMES * EPOCHS
    assert state["learner"]["updates"] == TINY["train.opt_steps"] * TINY["train.num_epochs"]
    assert state["learner"]["optimizers"].keys() == {"actor", "critic", "alpha"}
    assert sum(len(rows) for rows in state["buffer"]["data"]) == FRAMES * EPOCHS


@pytest.mark.parametrize("name", ["best", "epoch_4"])
def test_other_checkpoints_hold_weights_only(whole: Path, name: str) -> None:
    state = state_of(whole, name)

    assert state["networks"].keys() == state_of(whole)["learner"]["networks"].keys()
    assert not state.keys() & {"learner", "optimizers", "buffer", "collector"}


def test_the_best_checkpoint_is_that_of_the_best_evaluation(whole: Path) -> None:
    rows = [row for row in rows_of(whole) if row["eval/success_rate"]]
    best = max(rows, key=lambda row: (float(row["eval/success_rate"]), float(row["eval/return"])))

    assert state_of(whole, "best")["frames"] == int(best["total_frames"])


def score_evaluations(monkeypatch: pytest.MonkeyPatch, scores: list[tuple[float, float]]) -> None:
    """Evaluations give these (success, return) in turn."""
    results = iter(scores)

    def evaluate(_self: Collector, *_: object) -> list[EpisodeStats]:
        success, ret = next(results)
        return [EpisodeStats(task=0, ret=ret, length=15, success=success)]

    monkeypatch.setattr(Collector, "evaluate", evaluate)


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(0.0, 1.0), (0.0, 2.0), (0.0, 3.0)], 60),
        ([(0.0, 3.0), (0.0, 2.0), (0.0, 1.0)], 20),
        ([(0.5, 1.0), (0.0, 9.0), (0.25, 9.0)], 20),
        ([(0.5, 1.0), (0.5, 2.0), (0.25, 9.0)], 40),
        ([(0.5, 2.0), (0.5, 1.0), (0.75, 0.0)], 60),
        ([(0.0, -9.0), (0.0, -8.0), (0.0, -8.5)], 40),
        ([(0.5, 1.0), (0.5, 1.0), (0.5, 1.0)], 20),
    ],
)
def test_the_best_is_best_by_success_and_then_by_return(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scores: list[tuple[float, float]],
    best: int,
) -> None:
    score_evaluations(monkeypatch, [*scores, (0.0, 0.0)])

    assert start(tmp_path, *overrides()) == 0

    assert state_of(folder_in(tmp_path), "best")["frames"] == best


@pytest.mark.parametrize("until", ["20", "40"])
def test_a_resumed_run_remembers_its_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: str
) -> None:
    score_evaluations(monkeypatch, [(0.5, 9.0), (0.5, 8.0), (0.25, 7.0), (0.0, 0.0)])

    assert start(tmp_path, *overrides(), "--until", until) == 0
    assert start(tmp_path, "--resume") == 0

    assert state_of(folder_in(tmp_path), "best")["frames"] == 20


def test_every_nth_checkpoint_is_kept(whole: Path) -> None:
    names = {path.name for path in (whole / "checkpoint").iterdir()}

    assert {name for name in names if not name.startswith("last_")} == {"best.pt", "epoch_4.pt"}


def test_checkpoints_know_their_configuration(whole: Path) -> None:
    params = json.loads((whole / "params.json").read_text())

    for name in ("last", "best", "epoch_4"):
        assert state_of(whole, name)["config"] == params


def test_a_run_without_epochs_is_still_complete(tmp_path: Path) -> None:
    argv = ("--set", "train.num_epochs=0", "--set", "train.pretrain_epochs=0")

    assert start(tmp_path, *overrides(), *argv) == 0

    assert json.loads((folder_in(tmp_path) / "result.json").read_text())["frames"] == 0
    assert state_of(folder_in(tmp_path))["epoch"] == 0


# --- --until -------------------------------------------------------------------------------------


def test_until_stops_at_the_first_epoch_end_from_there_on(half: Path) -> None:
    assert rows_of(folder_in(half))[-1]["total_frames"] == "30"


def test_a_stopped_run_has_a_checkpoint_of_its_last_frame(half: Path) -> None:
    assert sum(state_of(folder_in(half))["frames"]) == 30


def test_a_stopped_run_has_no_result(half: Path) -> None:
    assert not (folder_in(half) / "result.json").exists()


def test_until_an_epochs_end_stops_there(stopped: Path) -> None:
    assert start(stopped, "--resume", "--until", "40") == 0

    assert len(rows_of(folder_in(stopped))) == 4


@pytest.mark.parametrize("frames", ["1", "29", "30"])
def test_until_a_frame_that_is_reached_trains_no_further(stopped: Path, frames: str) -> None:
    assert start(stopped, "--resume", "--until", frames) == 0

    assert len(rows_of(folder_in(stopped))) == 3


def test_until_the_end_finishes_the_run(stopped: Path, whole: Path) -> None:
    assert start(stopped, "--resume", "--until", str(FRAMES * EPOCHS)) == 0

    assert (folder_in(stopped) / "result.json").exists()
    assert_same_run(folder_in(stopped), whole)


# --- --resume ------------------------------------------------------------------------------------


def test_a_resumed_run_ends_as_an_uninterrupted_one(resumed: Path, whole: Path) -> None:
    assert_same_run(resumed, whole)


def test_a_resumed_run_has_the_same_result(resumed: Path, whole: Path) -> None:
    ours, theirs = (json.loads((path / "result.json").read_text()) for path in (resumed, whole))

    assert {**ours, "wall_time_s": 0} == {**theirs, "wall_time_s": 0}


def test_a_resumed_run_has_the_same_best_weights(resumed: Path, whole: Path) -> None:
    assert_same_bits(state_of(resumed, "best"), state_of(whole, "best"))


def test_a_resumed_run_keeps_its_time(resumed: Path, half: Path) -> None:
    result = json.loads((resumed / "result.json").read_text())

    assert result["wall_time_s"] > state_of(folder_in(half))["wall_time"]


def test_a_resumed_run_shows_the_same_points(resumed: Path, whole: Path) -> None:
    ours, theirs = scalars(resumed), scalars(whole)

    assert ours.keys() == theirs.keys()
    for name in theirs:
        if not name.startswith(("time/", "rate/")):
            assert ours[name] == theirs[name], name


def test_a_run_in_many_phases_ends_as_an_uninterrupted_one(tmp_path: Path, whole: Path) -> None:
    assert start(tmp_path, *overrides(), "--until", "10") == 0
    for frames in range(20, FRAMES * EPOCHS + 1, 10):
        assert start(tmp_path, "--resume", "--until", str(frames)) == 0

    assert_same_run(folder_in(tmp_path), whole)


def test_a_crash_behind_the_checkpoint_leaves_no_row_twice(crashed: Path, whole: Path) -> None:
    assert_same_run(crashed, whole)


def test_a_crash_behind_the_checkpoint_leaves_no_point_twice(crashed: Path, whole: Path) -> None:
    for name, points in scalars(crashed).items():
        steps = [step for step, _ in points]
        assert steps == sorted(set(steps)), name
    assert scalars(crashed)["epoch"] == scalars(whole)["epoch"]


def test_a_crash_in_the_final_evaluation_is_made_good(finished: Path, whole: Path) -> None:
    (folder_in(finished) / "result.json").unlink()

    assert start(finished, "--resume") == 0

    assert (folder_in(finished) / "result.json").exists()
    assert_same_run(folder_in(finished), whole)


def test_resuming_says_where_it_goes_on(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start(stopped, "--resume", "--until", "40")

    assert "from frame 30" in capsys.readouterr().out


def test_a_finished_run_says_so(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(finished)

    assert start(finished, "--resume") == 0

    assert "finished" in capsys.readouterr().out
    assert contents(finished) == before


def test_a_finished_run_is_not_started_anew(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(finished)

    assert start(finished) == 2

    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert all(flag in error for flag in ("--resume", "--id", "--seed"))
    assert contents(finished) == before


@pytest.mark.parametrize("left", [None, "", "params.json", "versions.json", ".params.json.k3j2"])
def test_a_directory_without_a_checkpoint_starts_from_the_first_frame(
    whole: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    no_training: list[RLAlgo],
    left: str | None,
) -> None:
    """Whatever a crash left there: nothing, an empty directory, or some of the files."""
    folder = folder_in(tmp_path)
    if left is not None:
        folder.mkdir(parents=True)
    if left and (whole / left).exists():
        shutil.copy(whole / left, folder / left)
    elif left:
        (folder / left).write_text("{")

    assert start(tmp_path, *overrides(), "--resume") == 0

    assert "frame 0" in capsys.readouterr().out
    assert [run.total_frames for run in no_training] == [0]
    assert rows_of(folder) == []


FORBIDDEN = [
    ("sac.alpha", "0.5"),
    ("sac.plr", "1e-3"),
    ("sac.grad_clip", "1"),
    ("net.hidden_shapes", "[16]"),
    ("env.num_goals", "1"),
    ("env.num_envs", "2"),
    ("env.max_episode_frames", "20"),
    ("env.reward_version", "v1"),
    ("env.reward_normalization", "ema"),
    ("replay_buffer.size", "2000"),
    ("train.batch_size", "16"),
    ("train.opt_steps", "3"),
    ("train.epoch_frames", "20"),
    ("train.pretrain_epochs", "2"),
    ("train.eval_episodes", "3"),
    ("train.final_eval_episodes", "4"),
    ("system.matmul_precision", "high"),
]


@pytest.mark.parametrize(("key", "value"), FORBIDDEN)
def test_a_change_that_is_not_allowed_is_named(
    finished: Path, capsys: pytest.CaptureFixture[str], key: str, value: str
) -> None:
    before = contents(finished)

    assert start(finished, "--resume", "--set", f"{key}={value}") == 2

    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert key in error
    assert "train.num_epochs" in error  # what is allowed
    assert contents(finished) == before


def test_a_change_by_a_configuration_is_named(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = json.loads((folder_in(finished) / "params.json").read_text())
    params["train"]["batch_size"] = 16
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(params))

    assert start(finished, "--resume", "--config", str(path)) == 2

    assert "train.batch_size" in capsys.readouterr().err


def test_a_change_to_auto_is_a_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ("--set", "sac.alpha=0.2", "--until", "10")
    assert start(tmp_path, *overrides(), *argv) == 0

    assert start(tmp_path, "--resume", "--set", "sac.alpha=auto") == 2

    assert "sac.alpha" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [(), ("--set", "train.batch_size=8"), ("--set", "sac.tau=0.005")])
def test_naming_what_is_already_so_is_no_change(
    stopped: Path, no_training: list[RLAlgo], argv: tuple[str, ...]
) -> None:
    assert start(stopped, "--resume", *argv) == 0

    assert len(no_training) == 1


def test_the_same_command_with_resume_goes_on(stopped: Path, no_training: list[RLAlgo]) -> None:
    assert start(stopped, *overrides(), "--resume") == 0

    assert no_training[0].config.train.batch_size == TINY["train.batch_size"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train.num_epochs", 9),
        ("train.eval_interval", 3),
        ("train.save_interval", 1),
        ("log.console", "plain"),
        ("log.console", "live"),
    ],
)
def test_an_allowed_change_is_taken(
    stopped: Path, no_training: list[RLAlgo], key: str, value: Any
) -> None:
    assert start(stopped, "--resume", "--set", f"{key}={json.dumps(value)}") == 0

    section, field = key.split(".")
    assert getattr(getattr(no_training[0].config, section), field) == value
    assert json.loads((folder_in(stopped) / "params.json").read_text())[section][field] == value


def test_a_change_back_to_auto_is_taken(stopped: Path, no_training: list[RLAlgo]) -> None:
    assert start(stopped, "--resume", "--set", "log.console=plain") == 0
    assert start(stopped, "--resume", "--set", "log.console=auto") == 0

    assert [run.config.log.console for run in no_training] == ["plain", "auto"]


def test_a_finished_run_can_be_made_longer(finished: Path, tmp_path: Path, whole: Path) -> None:
    argv = ("--resume", "--set", f"train.num_epochs={EPOCHS}")

    assert start(finished, *argv) == 0

    assert len(rows_of(folder_in(finished))) == EPOCHS + 1
    assert results(folder_in(finished))[:EPOCHS] == results(whole)
    result = json.loads((folder_in(tmp_path) / "result.json").read_text())
    assert result["frames"] == FRAMES * (EPOCHS + 1)


def test_a_run_whose_checkpoint_cannot_be_used_is_left_as_it_is(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = folder_in(finished)
    with (run / "log.csv").open("a") as log:
        log.write("rows,behind,the,checkpoint\n")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    def fail(_self: RLAlgo, _saved: object) -> None:
        raise CheckpointError("does not fit")

    monkeypatch.setattr(RLAlgo, "resume", fail)
    assert start(finished, "--resume", "--set", f"train.num_epochs={EPOCHS}") == 1
    assert {name: (run / name).read_bytes() for name in before} == before


def test_a_finished_run_that_collects_ahead_can_be_made_longer(tmp_path: Path) -> None:
    """Its next epoch is collected with the policy that a longer run would have had."""
    ahead = ["--set", "system.overlap=true", "--set", "system.workers=1"]
    shorter = ["--set", f"train.num_epochs={EPOCHS - 3}"]
    assert start(tmp_path / "longer", *overrides(), *ahead, *shorter) == 0
    longer = ["--resume", "--set", f"train.num_epochs={EPOCHS - 1}"]
    assert start(tmp_path / "longer", *longer) == 0
    assert start(tmp_path / "whole", *overrides(), *ahead) == 0
    assert_same_run(folder_in(tmp_path / "longer"), folder_in(tmp_path / "whole"))


def test_the_number_of_workers_changes_no_number(stopped: Path, whole: Path) -> None:
    assert start(stopped, "--resume", "--set", "system.workers=1") == 0

    assert_same_run(folder_in(stopped), whole)


def test_a_run_of_a_gpu_is_told_that_there_is_none(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder_in(stopped) / "params.json"
    params = json.loads(path.read_text())
    params["system"]["accel"] = "graph"
    path.write_text(json.dumps(params))

    code = start(stopped, "--resume")

    error = capsys.readouterr().err
    assert code == 2
    assert len(error.splitlines()) == 1
    assert "system.accel" in error


@pytest.mark.parametrize("damage", [b"", b"damaged", b"PK\x03\x04" + b"\0" * 100])
def test_a_damaged_checkpoint_is_named_and_nothing_is_lost(
    stopped: Path, capsys: pytest.CaptureFixture[str], damage: bytes
) -> None:
    newest_checkpoint(folder_in(stopped)).write_bytes(damage)
    newest_checkpoint(folder_in(stopped)).with_name("last_2.pt").write_bytes(damage)
    log = (folder_in(stopped) / "log.csv").read_bytes()

    assert start(stopped, "--resume") == 1

    told = "".join(capsys.readouterr())
    assert "last_3.pt" in told.splitlines()[-1]
    assert (folder_in(stopped) / "log.csv").read_bytes() == log


@pytest.mark.parametrize("text", ["", "{", "[]", '{"algo": "td3"}', '{"env": {}}'])
def test_damaged_params_are_a_mistake(
    stopped: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (folder_in(stopped) / "params.json").write_text(text)

    assert start(stopped, "--resume") == 2

    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "params.json" in error


# --- how a run ends ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_a_signal_ends_a_run_with_its_own_code(
    stopped: Path, monkeypatch: pytest.MonkeyPatch, signum: signal.Signals, code: int
) -> None:
    def train(_self: RLAlgo) -> bool:
        signal.raise_signal(signum)
        return True

    monkeypatch.setattr(RLAlgo, "train", train)

    assert start(stopped, "--resume") == code


def signal_in_epoch(monkeypatch: pytest.MonkeyPatch, epoch: int, signum: signal.Signals) -> None:
    """The signal comes when the row of that epoch is written."""
    dump: Callable[..., None] = Logger.dump

    def signalled(self: Logger, row: dict[str, Any], **options: Any) -> None:
        dump(self, row, **options)
        if row["epoch"] == epoch:
            signal.raise_signal(signum)

    monkeypatch.setattr(Logger, "dump", signalled)


def test_a_running_epoch_is_finished_and_saved(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        signal_in_epoch(patch, 5, signal.SIGTERM)
        assert start(tmp_path, *overrides()) == 143
    assert sum(state_of(folder_in(tmp_path))["frames"]) == 50

    assert start(tmp_path, "--resume") == 0

    assert_same_run(folder_in(tmp_path), whole)


def test_without_grace_a_signal_leaves_the_last_checkpoint(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        signal_in_epoch(patch, 1, signal.SIGTERM)
        no_grace = ["--set", "system.grace_seconds=0"]
        assert start(tmp_path, *overrides(), *no_grace) == 143
    assert not list((folder_in(tmp_path) / "checkpoint").glob("last_*"))

    assert start(tmp_path, "--resume") == 0

    assert_same_run(folder_in(tmp_path), whole)


@pytest.mark.parametrize("count", [1, 3, 5], ids=["rows", "state", "manifest"])
def test_a_second_signal_while_a_checkpoint_is_written_harms_none(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """The first is waited for; the second comes two seconds later, before that file is on disk."""
    left, late, fsync, save = math.inf, 0.0, os.fsync, Store.save

    class Later:
        @staticmethod
        def monotonic() -> float:
            return time.monotonic() + late

    def signalled(handle: int) -> None:
        nonlocal left, late
        left -= 1
        if left == 0:
            late = 2.0
            signal.raise_signal(signal.SIGINT)
        fsync(handle)

    def fifth(self: Store, epoch: int, *args: Any) -> int:
        nonlocal left
        if epoch == 5:
            left = count
        return save(self, epoch, *args)

    with monkeypatch.context() as patch:
        signal_in_epoch(patch, 5, signal.SIGTERM)
        patch.setattr(signals, "time", Later)
        patch.setattr(os, "fsync", signalled)
        patch.setattr(Store, "save", fifth)
        assert start(tmp_path, *overrides()) == 130
    assert left == 0
    assert sum(state_of(folder_in(tmp_path))["frames"]) < 50  # that of epoch 5 is not there

    assert start(tmp_path, "--resume") == 0

    assert_same_run(folder_in(tmp_path), whole)


def test_an_interrupt_before_anything_is_begun_is_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "request", interrupt)
    assert start(tmp_path, *overrides()) == 130
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_signal_in_the_last_epoch_leaves_a_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal_in_epoch(monkeypatch, EPOCHS, signal.SIGINT)

    code = start(tmp_path, *overrides())

    assert code == 0
    assert (folder_in(tmp_path) / "result.json").exists()


def test_any_other_error_ends_with_code_one_and_its_cause_last(
    stopped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(_self: RLAlgo) -> bool:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(RLAlgo, "train", train)

    assert start(stopped, "--resume") == 1

    assert "the disk is on fire" in "".join(capsys.readouterr()).splitlines()[-1]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGALRM])
def test_a_run_leaves_the_handlers_as_they_were(
    stopped: Path, no_training: list[RLAlgo], signum: signal.Signals
) -> None:
    before = signal.getsignal(signum)

    start(stopped, "--resume")

    assert len(no_training) == 1
    assert signal.getsignal(signum) == before


# --- what a second part of a run must not get wrong ----------------------------------------------


def test_a_run_goes_on_only_on_its_kind_of_device(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its noise comes from that kind's generator."""
    last = newest_checkpoint(folder_in(stopped))
    state = torch.load(last, weights_only=True)
    state["learner"]["device"] = "cuda"
    torch.save(state, last)
    sign(last)

    assert start(stopped, "--resume") == 2

    assert "--device" in capsys.readouterr().err


WRONG: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another shape": lambda state: state["learner"]["networks"].update(log_alpha=torch.ones(7)),
    "no environments": lambda state: state["collector"]["sites"].clear(),
    "impossible rows": lambda state: state["buffer"]["chunks"][0].update(counts=[-1]),
    "no frames": lambda state: state.update(frames=None),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_checkpoint_of_another_run_is_told_in_one_line(
    stopped: Path, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    """Its checksums are right, what it says is not."""
    last = newest_checkpoint(folder_in(stopped))
    state = torch.load(last, weights_only=True)
    WRONG[wrong](state)
    torch.save(state, last)
    sign(last)

    assert start(stopped, "--resume") == 1

    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and str(last) in error


def test_starting_over_takes_old_points_out_of_tensorboard(stopped: Path) -> None:
    folder = folder_in(stopped)
    shutil.rmtree(folder / "checkpoint")
    versions = folder / "versions.json"  # as if it had been killed before its first checkpoint
    versions.write_text(versions.read_text().replace("true", "false"))

    assert start(stopped, "--resume") == 0

    steps = [step for step, _ in scalars(folder)["epoch"]]
    assert steps == sorted(set(steps))


def test_the_time_of_a_save_stands_once_in_the_row_after_it(tmp_path: Path) -> None:
    assert start(tmp_path, *overrides(), "--set", "train.save_interval=3") == 0

    times = [row["time/save_s"] != "" for row in rows_of(folder_in(tmp_path))]
    assert times == [row > 0 and row % 3 == 0 for row in range(len(times))]
