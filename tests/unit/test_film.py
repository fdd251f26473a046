"""Videos during training: their content, their files, and that they do not affect training."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio.v3 as imageio
import numpy as np
import pytest
from helpers import choose_renderer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import one_line, train
from two_tasks import FRAMES, TASKS, assert_same_training, plain, start

from torchrl_lite.checkpoint.store import weights_of
from torchrl_lite.collector.plan import EVAL, EpisodeKey
from torchrl_lite.env.make import make_task_env
from torchrl_lite.policies.evaluate import evaluate
from torchrl_lite.policies.film import Replay, record
from torchrl_lite.policies.load import load_policy
from torchrl_lite.policies.policy import Policy

__all__ = ["plain"]  # a fixture


@pytest.fixture(scope="module", autouse=True)
def renderer() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        choose_renderer(patch)
        yield


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run with videos of every third evaluation."""
    code, folder = start(tmp_path_factory.mktemp("filmed"), log__video=3)
    assert code == 0
    return folder


def test_every_task_is_recorded_at_the_chosen_evaluations_and_at_the_end(
    recorded: Path, plain: Path
) -> None:
    """Which does not change the training."""
    names = {path.name for path in (recorded / "video").iterdir()}
    assert names == {f"{epoch * FRAMES}_{task}.mp4" for epoch in (3, 4) for task in TASKS}
    assert not (plain / "video").exists()
    assert_same_training(recorded, plain)


def test_tensorboard_has_the_videos_too(recorded: Path) -> None:
    events = EventAccumulator(str(recorded), size_guidance={"images": 0})
    events.Reload()
    assert set(events.Tags()["images"]) == {f"video/{task}" for task in TASKS}
    shown = events.Images(f"video/{TASKS[0]}")
    assert [event.step for event in shown] == [epoch * FRAMES for epoch in (3, 4)]
    pictures = imageio.imread(BytesIO(shown[-1].encoded_image_string), index=None)
    as_file = imageio.imread(recorded / "video" / f"{4 * FRAMES}_{TASKS[0]}.mp4")
    assert pictures.shape[-3:] == (240, 240, 3) == (shown[0].height, shown[0].width, 3)
    assert as_file.shape == (3, 480, 480, 3)  # after 0, 8 and 9 of 9 steps, at 10 frames per second
    difference = pictures[-1].astype(float) - as_file[-1, ::2, ::2]
    assert abs(difference).mean() < 12  # of 255: both encodings are lossy


def test_a_video_shows_the_first_episode_of_the_evaluation(plain: Path) -> None:
    policy = load_policy(weights_of(plain))
    _, measured = evaluate(policy, episodes=3)[0]
    env = gym.wrappers.RecordEpisodeStatistics(make_task_env(policy.config.env, 1, seed=1))
    *_, end = Replay(policy.config.env, policy.actor, 1, seed=1).play(env)
    assert measured.task == TASKS[1]
    assert (env.return_queue[0], end.frame) == (measured.returns[0], measured.lengths[0])


def test_a_failing_video_does_not_stop_training(
    tmp_path: Path, plain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the graphics card fell out")

    monkeypatch.setattr("torchrl_lite.training.films.record", fail)
    code, folder = start(tmp_path, log__video=4)
    assert code == 0
    out = capsys.readouterr().out
    assert_same_training(folder, plain)
    for task in TASKS:
        assert f"warning: no film of {task} (RuntimeError: the graphics card fell out)" in out


CHEETAH = "HalfCheetah-v5"


def gymnasium_image(policy: Policy, steps: int) -> Any:
    """Gymnasium's own rendering after this many steps of a video's episode, without shadows,
    reflections and antialiasing. Its camera lags behind, so every step is rendered."""
    env: Any = gym.make(CHEETAH, render_mode="rgb_array", camera_name="track")
    model = env.unwrapped.model
    model.vis.quality.offsamples = model.light_castshadow[:] = model.mat_reflectance[:] = 0
    plan = EpisodeKey(policy.seed, EVAL, 0, 0, 0).plan(horizon=8, act_dim=6, num_goals=50)
    obs, _ = env.reset(seed=plan.seed)
    image = env.render()
    for _ in range(steps):
        obs = env.step(policy(obs))[0]
        image = env.render()
    env.close()
    return image


def test_a_video_matches_gymnasiums_rendering(tmp_path: Path) -> None:
    env = {"env__suite": "gymnasium", "env__tasks": [CHEETAH], "env__max_episode_frames": 8}
    policy = load_policy(weights_of(train(tmp_path, **env)))
    film = record(Replay(policy.config.env, policy.actor, 0, policy.seed))
    assert len(film.pictures) == 1 + 8
    below = slice(40, None)  # without the title
    for steps in (0, 8):
        expected = gymnasium_image(policy, steps)
        assert np.array_equal(film.pictures[steps][below], expected[below])


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
    assert start(tmp_path, log__video=True)[0] == 2
    assert not list(tmp_path.iterdir())
    one_line(capsys.readouterr().err, "log.video", *message)
