"""Non-finite numbers, hangs, full disks and too little memory: the error and what is left."""

import math
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import gymnasium as gym
import numpy as np
import pytest
import torch
from helpers import make_spec, newest_checkpoint, no_file_larger_than, random_block
from tiny_runs import ROOT, TASK, folder_in, one_line, short, train

from torchrl_lite.algo.learner import Learner
from torchrl_lite.checkpoint.traces import NOT_FINITE
from torchrl_lite.collector import environments
from torchrl_lite.collector.episode import EpisodeStats
from torchrl_lite.collector.finite import check_block, check_episodes, check_metrics
from torchrl_lite.collector.guard import Watchdog
from torchrl_lite.collector.supervision import SupervisedWorker
from torchrl_lite.command import launch
from torchrl_lite.command.launch import main
from torchrl_lite.env.make import make_task_env
from torchrl_lite.errors import NotFiniteError, WorkerDiedError, WorkerError
from torchrl_lite.types import Block

NAMES = ["reach-v3", "push-v3"]


def command(log_dir: Path, **changes: Any) -> list[str]:
    """Flags of a run of six epochs, each with a checkpoint."""
    fields = {"train__num_epochs": 5, "train__save_interval": 1, "train__final_eval_episodes": 1}
    return short(log_dir, "--task", TASK, **fields | changes)


def healthy_state(log_dir: Path, *, epoch: int) -> dict[str, Any]:
    """The newest checkpoint: it was saved in this epoch, with finite weights."""
    state = torch.load(newest_checkpoint(folder_in(log_dir)), weights_only=True)
    assert state["epoch"] == epoch
    assert all(weights.isfinite().all() for weights in state["learner"]["networks"].values())
    return state


# --- blocks and metrics --------------------------------------------------------------------------


def block_with(value: float, name: str, *place: int) -> Block:
    block = random_block(make_spec(2), 6, copies=3)
    getattr(block, name)[place] = value
    return block


@pytest.mark.parametrize(
    ("value", "name", "what"),
    [
        (math.nan, "obs", "observation"),
        (math.inf, "act", "action"),
        (-math.inf, "rew", "reward"),
        (math.nan, "next_obs", "next observation"),
    ],
)
def test_a_fault_names_task_frame_and_quantity(value: float, name: str, what: str) -> None:
    block = block_with(value, name, 1, 4, 2)
    with pytest.raises(NotFiniteError, match=rf"^push-v3 \(copy 2\): the {what} at frame 25 is"):
        check_block(block, [0, 1], NAMES, before=[70, 20])


def test_the_error_names_the_first_frame_and_its_cause() -> None:
    """A NaN observation makes the action NaN, which makes the rest NaN."""
    block = block_with(math.nan, "rew", 0, 5, 0)
    for name in ("next_obs", "act", "obs"):
        getattr(block, name)[1, 3, 1] = math.nan
    with pytest.raises(NotFiniteError, match=r"^push-v3 \(copy 1\): the observation at frame 4 "):
        check_block(block, [0, 1], NAMES, before=[0, 0])


def test_large_numbers_and_rows_of_other_tasks_are_accepted() -> None:
    check_block(block_with(3e38, "obs", 0), [0, 1], NAMES, before=[0, 0])
    check_block(block_with(math.nan, "obs", 1, 0, 0, 0), [0], NAMES, before=[0, 0])


def test_a_non_finite_metric_names_its_task() -> None:
    metrics = {
        "train/q1_loss": -math.inf,
        "train_q1_loss/reach-v3": 1.0,
        "train_q1_loss/push-v3": -math.inf,
        "train/alpha": 1.0,
    }
    with pytest.raises(NotFiniteError, match=r"^push-v3: q1_loss is -inf .* frame 500;"):
        check_metrics(metrics, NAMES, frame=500)
    with pytest.raises(NotFiniteError, match=r"^reach-v3, push-v3: actor_grad_norm is nan"):
        check_metrics({"train/actor_grad_norm": math.nan}, NAMES, frame=1)  # tasks share it
    with pytest.raises(NotFiniteError, match=r"^package/Task-v0: q is nan"):
        check_metrics({"train_q/package/Task-v0": math.nan}, ["package/Task-v0"], frame=1)


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_non_finite_evaluation_names_its_task(value: float) -> None:
    good = EpisodeStats(0, 1.0, 5, None, np.zeros((2, 3), np.float32))
    check_episodes([good, EpisodeStats(1, 1.0, 5, 0.0)], NAMES, frame=40)
    with pytest.raises(NotFiniteError, match=r"^push-v3: the return in .* at frame 40 is not"):
        check_episodes([good, EpisodeStats(1, value, 5, 0.0)], NAMES, frame=40)
    sample = np.array([[0.0, 1.0], [value, 0.0]], np.float32)
    with pytest.raises(NotFiniteError, match=r"^push-v3: an observation, action or reward in "):
        check_episodes([good, EpisodeStats(1, 1.0, 5, 0.0, sample)], NAMES, frame=40)


# --- whole runs ----------------------------------------------------------------------------------


class Broken(gym.Wrapper):
    """Passes the result of its ``at``-th step, counted over episodes, through ``fault``."""

    def __init__(self, env: gym.Env, at: int, fault: Callable[..., Any]) -> None:
        super().__init__(env)
        self.left, self.fault = at, fault

    def step(self, action: Any) -> Any:
        result = self.env.step(action)
        self.left -= 1
        return self.fault(*result) if self.left == 0 else result


def with_nan(obs: np.ndarray, *others: Any) -> Any:
    return np.where(np.arange(len(obs)) == 7, np.nan, obs), *others


def with_infinite_reward(obs: np.ndarray, _: float, *others: Any) -> Any:
    return obs, math.inf, *others


def break_environment(
    patch: pytest.MonkeyPatch, number: int, at: int, fault: Callable[..., Any]
) -> None:
    """Breaks the ``number``-th environment that is made."""
    made = count(1)

    def make(*args: Any, **options: Any) -> gym.Env:
        env = make_task_env(*args, **options)
        return Broken(env, at, fault) if next(made) == number else env

    patch.setattr(environments, "make_task_env", make)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (with_nan, "the next observation at frame 25 is not finite"),
        (with_infinite_reward, "the reward at frame 25 is not finite"),
    ],
)
def test_a_broken_environment_is_named_and_its_data_is_not_saved(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: Callable[..., Any],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo logs non-finite numbers here
    break_environment(monkeypatch, 1, 25, fault)
    assert main("sac", command(tmp_path)) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"{TASK} (copy 0): {message}" in error
    assert error == f"error: {(folder_in(tmp_path) / NOT_FINITE).read_text()}".rstrip()
    assert healthy_state(tmp_path, epoch=2)["buffer"]["written"] == [20]


def test_a_non_finite_evaluation_selects_no_best_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the environment of the evaluation is broken."""
    break_environment(monkeypatch, 2, 5, with_infinite_reward)
    assert main("sac", command(tmp_path, train__eval_interval=2)) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {TASK}: ") and "in the evaluation at frame 20" in error
    assert not (folder_in(tmp_path) / "checkpoint" / "best.pt").exists()
    healthy_state(tmp_path, epoch=1)


@pytest.mark.parametrize("quantity", ["loss", "gradient"])
def test_a_non_finite_loss_or_gradient_is_never_saved(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    quantity: str,
) -> None:
    step, calls = Learner.step, count(1)

    def poisoned(self: Learner, name: str, losses: torch.Tensor, *args: Any, **opts: Any) -> Any:
        if next(calls) == 10:  # in the second epoch of updates
            if quantity == "loss":
                losses = losses * math.nan
            else:
                losses = losses + (losses - losses.detach()).sqrt()  # 0 with an infinite slope
        return step(self, name, losses, *args, **opts)

    monkeypatch.setattr(Learner, "step", poisoned)
    assert main("sac", command(tmp_path)) == 1
    one_line(capsys.readouterr().err, f"error: {TASK}: ", "at frame 30")
    healthy_state(tmp_path, epoch=2)


HANGS = """
import sys, threading
from torchrl_lite.command import launch
from torchrl_lite.env import metaworld

step = metaworld.MetaWorldEnv.step

def hang(self, action):
    self.count = getattr(self, "count", 0) + 1
    if self.count == 25:
        threading.Event().wait()
    return step(self, action)

metaworld.MetaWorldEnv.step = hang
if __name__ == "__main__":
    sys.exit(launch.main("sac", sys.argv[1:]))
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_an_environment_that_hangs_is_named(tmp_path: Path, workers: int) -> None:
    script = tmp_path / "hangs.py"
    script.write_text(HANGS)
    argv = command(tmp_path, system__workers=workers, system__env_timeout_s=1)
    done = subprocess.run(
        [sys.executable, str(script), *argv],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 1
    message = f"{TASK} (copy 0): no response for 1 s (system.env_timeout_s)"
    assert message in done.stderr.splitlines()[-1]


def test_the_first_worker_death_suggests_a_main_guard() -> None:
    """A worker imports the script that started it: without the guard, another run."""
    death = WorkerDiedError("rollout worker 0 died (exit code 1)")
    death.process_code = 1
    start = Mock(return_value=Mock(receive=Mock(side_effect=death)))
    say = Mock()
    worker = SupervisedWorker(start, "reach-v3 (copy 0)", say=say, restarted=Mock())
    with pytest.raises(WorkerError, match=r'worker 0 died .* needs if __name__ == "__main__":'):
        worker.receive()
    start.assert_called_once()
    say.assert_not_called()


# --- a full disk ---------------------------------------------------------------------------------


def test_a_failed_checkpoint_write_stops_the_run_with_the_cause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with no_file_larger_than(40_000):
        assert main("sac", command(tmp_path, net__hidden_shapes=[64])) == 1
    one_line(capsys.readouterr().err, "of epoch 1 could not be written (File too large)")
    assert not list((folder_in(tmp_path) / "checkpoint").glob("last_*.json"))


# --- memory --------------------------------------------------------------------------------------


ADVICE = "lower replay_buffer.size, train.batch_size or net.hidden_shapes"


def test_too_little_memory_names_what_to_reduce(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main("sac", command(tmp_path, replay_buffer__size=10**13)) == 1
    error, advice = capsys.readouterr().err.splitlines()
    assert "can't allocate memory" in error and advice.startswith(ADVICE)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("can't start new thread"), "can't start new thread"),
        (MemoryError(), "out of memory"),
    ],
    ids=["thread", "Python"],
)
def test_other_kinds_of_memory_give_the_same_advice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Any, message: str
) -> None:
    monkeypatch.setattr(launch, "_main", Mock(side_effect=error))
    assert main("sac", []) == 1
    assert capsys.readouterr().err.startswith(f"error: {message}\n{ADVICE}")


@pytest.mark.parametrize("place", [(Learner, "load_training_state"), (torch, "load")])
def test_too_little_memory_to_resume_gives_the_same_advice(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: tuple[Any, str],
) -> None:
    """The checkpoint is not to blame."""
    assert main("sac", [*command(tmp_path), "--until", "20"]) == 0
    error = torch.OutOfMemoryError("CUDA out of memory.\nAnd more")
    monkeypatch.setattr(*place, Mock(side_effect=error))
    assert main("sac", [*command(tmp_path), "--resume"]) == 1
    assert capsys.readouterr().err.startswith(f"error: CUDA out of memory.\n{ADVICE}")


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("unable to allocate shared memory(shm): No space left on device (28)", "No space left"),
        ("unable to open shared memory object </x>: Read-only file system (30)", "Read-only"),
    ],
)
def test_unusable_shared_memory_is_a_one_line_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    message: str,
    cause: str,
) -> None:
    error = RuntimeError(message)
    monkeypatch.setattr(torch.Tensor, "share_memory_", Mock(side_effect=error))
    assert main("sac", command(tmp_path, system__workers=1)) == 1
    one_line(capsys.readouterr().err, "system.workers", "/dev/shm cannot be used", cause)


def test_frames_of_a_failure_are_those_of_one_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    check = "torchrl_lite.training.rl_algo.check_block"
    monkeypatch.setattr(check, lambda *_, before: seen.append(before))
    train(tmp_path, "--task", TASK, env__num_envs=2)
    assert seen == [[0], [10], [20]]


def test_many_short_calls_are_not_a_hang() -> None:
    hangs: list[str] = []
    watchdog = Watchdog(1.0, hangs.append)
    watchdog.close()
    looks = iter(range(20))

    def wait(_: float) -> bool:
        watchdog.leave()
        watchdog.enter("reach-v3")
        return next(looks) == 19

    watchdog._stop = Mock(wait=wait)
    watchdog._look()
    assert not hangs
