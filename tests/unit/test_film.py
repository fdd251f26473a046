"""Videos during training: their content, their files, and that they do not affect training."""

from io import BytesIO
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio.v3 as imageio
import numpy as np
import pytest
from helpers import choose_renderer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import assert_same_run, one_line, same_results, short

from torchrl_lite.checkpoint.store import weights_of
from torchrl_lite.command import launch
from torchrl_lite.env.make import make_task_env
from torchrl_lite.policies.evaluate import evaluate
from torchrl_lite.policies.film import Replay
from torchrl_lite.policies.load import load_policy

TASKS = ["drawer-close-v3", "reach-v3"]
FRAMES = 40  # an epoch


def start(folder: Path, *flags: str, **changes: Any) -> tuple[int, Path]:
    """Exit code and run directory."""
    (folder / "two.json").write_text("{}")
    env = {"env__tasks": TASKS, "env__num_envs": 4, "env__name": "two"}
    env |= {"env__group_size": 2, "env__max_episode_frames": 9}
    epochs = {"train__num_epochs": 3, "train__eval_interval": 1}
    config = ("--config", folder / "two.json", *flags)
    argv = short(folder / "log", *config, **env | epochs | changes)
    return launch.main("sac", argv, multi_task=True), folder / "log" / "x" / "two" / "1"


@pytest.fixture(scope="module", autouse=True)
def renderer() -> None:
    with pytest.MonkeyPatch.context() as patch:
        choose_renderer(patch)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without videos."""
    code, folder = start(tmp_path_factory.mktemp("plain"))
    assert code == 0
    return folder


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run with videos of every third evaluation."""
    code, folder = start(tmp_path_factory.mktemp("filmed"), log__video=3)
    assert code == 0
    return folder


def assert_same_training(ours: Path, theirs: Path) -> None:
    assert_same_run(ours, theirs)
    assert same_results(ours, theirs)


def test_videos_do_not_change_training(recorded: Path, plain: Path) -> None:
    assert_same_training(recorded, plain)


def test_every_task_is_recorded_at_the_chosen_evaluations_and_at_the_end(
    recorded: Path, plain: Path
) -> None:
    names = {path.name for path in (recorded / "video").iterdir()}
    assert names == {f"{epoch * FRAMES}_{task}.mp4" for epoch in (3, 4) for task in TASKS}
    assert not (plain / "video").exists()


def test_tensorboard_has_the_videos_too(recorded: Path) -> None:
    events = EventAccumulator(str(recorded), size_guidance={"images": 0})
    events.Reload()
    assert set(events.Tags()["images"]) == {f"video/{task}" for task in TASKS}
    shown = events.Images(f"video/{TASKS[0]}")
    assert [event.step for event in shown] == [epoch * FRAMES for epoch in (3, 4)]
    pictures = imageio.imread(BytesIO(shown[-1].encoded_image_string), index=None)
    as_file = imageio.imread(recorded / "video" / f"{4 * FRAMES}_{TASKS[0]}.mp4")
    assert pictures.shape[-3:] == (240, 240, 3) == (shown[0].height, shown[0].width, 3)
    assert as_file.shape == (2, 480, 480, 3)  # steps 1 and 9 of 9, at 10 frames per second
    difference = pictures[-1].astype(float) - as_file[-1, ::2, ::2]
    assert abs(difference).mean() < 12  # of 255: both encodings are lossy


class Sum(gym.Wrapper):
    """Adds up the rewards."""

    total = 0.0

    def step(self, action: np.ndarray) -> Any:
        result = self.env.step(action)
        self.total += float(result[1])
        return result


def test_a_video_shows_the_first_episode_of_the_evaluation(plain: Path) -> None:
    policy = load_policy(weights_of(plain))
    _, measured = evaluate(policy, episodes=3)[0]
    env = Sum(make_task_env(policy.config.env, 1, seed=1))
    *_, (length, _) = Replay(policy.config.env, policy.actor, 1, seed=1).play(env)
    assert measured.task == TASKS[1]
    assert (env.total, length) == (measured.returns[0], measured.lengths[0])


def test_a_failing_video_does_not_stop_training(
    tmp_path: Path, plain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the graphics card fell out")

    monkeypatch.setattr("torchrl_lite.training.films.record", fail)
    code, folder = start(tmp_path, log__video=4)
    out = capsys.readouterr().out
    assert code == 0
    assert_same_training(folder, plain)
    for task in TASKS:
        assert f"warning: no film of {task} (RuntimeError: the graphics card fell out)" in out


@pytest.mark.parametrize(
    ("chosen", "message"),
    [("", ["libegl1", "libosmesa6"]), ("watercolour", ["rendering fails", "watercolour"])],
)
def test_without_a_renderer_no_run_starts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    chosen: str,
    message: list[str],
) -> None:
    monkeypatch.setenv("MUJOCO_GL", chosen)
    monkeypatch.setattr("torchrl_lite.env.rendering._TRIAL", "raise SystemExit(1)")
    code, folder = start(tmp_path, log__video=True)
    assert code == 2
    assert not folder.exists()
    one_line(capsys.readouterr().err, "log.video", *message)
