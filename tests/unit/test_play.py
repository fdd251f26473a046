"""``play.py`` evaluates the saved policy, and its frames match Meta-World's renderer."""

import os
from pathlib import Path
from unittest.mock import Mock

import imageio.v3 as imageio
import numpy as np
import pytest
from helpers import choose_renderer, error_of
from stock import mt1, stock_env
from tiny_runs import ROOT, one_line, rows_of, run_starter, train

from torchrl_lite.checkpoint.store import weights_of
from torchrl_lite.env.make import make_env
from torchrl_lite.env.rendering import use_headless_backend
from torchrl_lite.policies.evaluate import evaluate, summary, tasks_of
from torchrl_lite.policies.film import Replay, check_window, record
from torchrl_lite.policies.load import load_policy
from torchrl_lite.policies.policy import Policy
from torchrl_lite.reporting.film import Film, tiled, titled, write_film

TASKS = ["drawer-close-v3", "reach-v3"]
FRONT = {"azimuth": 215.0, "elevation": -35.0, "distance": 1.55, "lookat": [0, 0.6, 0.15]}
"""The camera of videos of Meta-World: it faces the robot across the table, from one side."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on two tasks with one evaluation."""
    flags = ("--config", ROOT / "config" / "mt10.json", "--seed", 4)
    env = {"env__tasks": TASKS, "env__num_envs": 2, "env__group_size": 2}
    end = {"train__eval_interval": 3, "train__eval_episodes": 3, "train__final_eval_episodes": 3}
    return train(tmp_path_factory.mktemp("play"), *flags, many=True, **env, **end)


@pytest.fixture(scope="module")
def policy(run: Path) -> Policy:
    return load_policy(weights_of(run))


def test_the_best_weights_reproduce_the_logged_evaluation(
    run: Path, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, clock = rows_of(run)[-1], Mock(perf_counter=Mock(side_effect=[10.0, 12.0]))
    monkeypatch.setattr("torchrl_lite.policies.evaluate.time", clock)
    results, rate = evaluate(policy, [0, 1], episodes=3, seed=policy.seed, workers=0)
    summaries = [summary(result) for result in results]
    assert [result.task for result in summaries] == TASKS
    for result in summaries:
        assert result.ret == float(row[f"eval_return/{result.task}"])
        assert result.success == float(row[f"eval_success/{result.task}"])
        assert (result.episodes, result.length) == (3, 15)
    assert rate == 90 / 2
    assert (policy.frames, policy.seed) == (60, 4)


def test_evaluation_can_be_limited_to_some_tasks(policy: Policy) -> None:
    assert tasks_of(policy, ["reach-v3"]) == [1]
    (one,), _ = evaluate(policy, ["reach-v3"], episodes=1)
    assert one.task == "reach-v3"
    assert evaluate(policy, ["reach-v3", 1], episodes=1)[0] == [one]  # given twice, evaluated once
    assert evaluate(policy, "reach-v3", episodes=1)[0] == [one]
    of_seed_0, _ = evaluate(policy, ["reach-v3"], episodes=1, seed=0)
    assert of_seed_0 != [one]  # other goals than those of seed 4
    (capped,), _ = evaluate(policy, ["reach-v3"], episodes=3, goals=0)
    assert len(capped.returns) == 1  # more would repeat the same goal


def test_an_impossible_evaluation_is_rejected(policy: Policy) -> None:
    assert "episodes: is 0" in error_of(evaluate, policy, episodes=0)
    assert "workers: is -1" in error_of(evaluate, policy, workers=-1)
    for seed in (-1, 2**31):
        message = error_of(evaluate, policy, seed=seed)
        assert f"seed: is {seed}; it must be from 0 to 2147483647" in message
    message = error_of(tasks_of, policy, ["reach-v2"])
    assert "--task: 'reach-v2'" in message
    assert "it has drawer-close-v3, reach-v3; did you mean 'reach-v3'?" in message


def test_a_parent_folder_suggests_the_run_directory(run: Path) -> None:
    assert f"did you mean {run}?" in error_of(weights_of, run.parents[1])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--run", "--checkpoint"]),
        (["--run", "no-such-run"], ["no-such-run is not a run directory"]),
        (["--run", "{run}", "--export", "x", "--seed", "3"], ["--export", "--seed"]),
        (["--run", "{run}", "--video", "film.avi"], ["--video", ".mp4", ".gif"]),
        (["--run", "{run}", "--camera", "corner"], ["--camera", "--video", "--render"]),
        (["--run", "{run}", "--video", "x.gif", "--size", "100"], ["--size", "multiple of 16"]),
    ],
)
def test_invalid_arguments_exit_with_code_2(
    run: Path, arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is evaluated."""
    code = run_starter("play", *[argument.format(run=run) for argument in arguments])
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    one_line(captured.err, *words)


def test_an_explicit_rendering_backend_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "something")
    use_headless_backend()
    assert os.environ["MUJOCO_GL"] == "something"


@pytest.mark.parametrize("suffix", ["gif", "mp4"])
def test_a_video_shows_its_frames_in_order_and_right_way_up(tmp_path: Path, suffix: str) -> None:
    """The lower half is dark; the upper half gets brighter from frame to frame."""
    frames = np.zeros((6, 64, 64, 3), np.uint8)
    for index, frame in enumerate(frames):
        frame[:32] = 100 + 25 * index
    path = tmp_path / "folder" / f"film.{suffix}"
    write_film(path, Film(frames, fps=20))
    shown = imageio.imread(path).astype(float)
    assert len(shown) == 6
    rate = imageio.immeta(path)
    assert rate["duration"] == 50 if suffix == "gif" else rate["fps"] == 20
    half = shown.shape[1] // 2
    assert shown[:, half + 4 :].mean() < 12
    brightness = shown[:, : half - 4].mean(axis=(1, 2, 3))
    assert brightness == pytest.approx(100 + 25 * np.arange(6), abs=12)


@pytest.mark.parametrize("camera", [None, "corner"])
def test_a_frame_matches_metaworlds_renderer_right_way_up(
    policy: Policy, monkeypatch: pytest.MonkeyPatch, camera: str | None
) -> None:
    """Except for title and shadows. Its corner cameras are upside down, so we turn them by
    180 degrees; its default camera looks over the robot's shoulder."""
    choose_renderer(monkeypatch)
    film = record(Replay(policy.config.env, policy.actor, 0, 4), camera=camera, size=240)

    options = {"render_mode": "rgb_array", "camera_name": camera, "width": 240, "height": 240}
    env = stock_env("drawer-close-v3", mt1("drawer-close-v3", 4).train_tasks[0], **options)
    if camera is None:
        env.mujoco_renderer.default_cam_config = FRONT
    env.reset()
    stock = env.render()
    env.close()

    assert film.pictures[0].shape == stock.shape == (240, 240, 3)
    upright, rotated = (
        np.corrcoef(film.pictures[0][20:].ravel(), frame[20:].ravel())[0, 1]
        for frame in (stock, stock[::-1, ::-1])
    )
    assert (upright if camera is None else rotated) > 0.9 > max(0.5, min(upright, rotated)), (
        upright, rotated
    )  # fmt: skip


def test_one_video_shows_all_tasks_side_by_side(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose_renderer(monkeypatch)
    out = tmp_path / "film.mp4"
    flags = ("--run", run, "--episodes", 1, "--workers", 0, "--video", out)
    assert run_starter("play", *flags, "--size", 96) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]
    film = imageio.imread(out).astype(float)
    assert film.shape == (5, 96, 192, 3)  # the start, after every fourth of 15 steps, the end
    left, right = film[:, 20:, :96], film[:, 20:, 96:]
    assert 1 < abs(left - right).mean() < 30  # the same table, with and without a drawer


def brightness(picture: np.ndarray) -> np.ndarray:
    return picture.astype(float).mean(-1)


def test_the_title_shows_whether_the_episode_succeeded() -> None:
    grey = np.full((400, 600, 3), 128, np.uint8)
    success, failure, unknown = (
        titled(grey, 240, "reach-v3", success=value) for value in (1.0, 0.0, None)
    )
    assert success.shape == failure.shape == unknown.shape == (240, 240, 3)
    right = (slice(0, 15), slice(120, 240))
    assert brightness(unknown[right]).max() < 40  # no text
    assert brightness(failure[right]).max() > 150
    assert success[right][..., 1].max() > success[right][..., 0].max() + 50  # green
    assert brightness(failure[right]).sum() > brightness(success[right]).sum()  # longer text
    assert np.array_equal(unknown[:, :100], success[:, :100])  # the task name
    assert brightness(unknown[:15, :100]).max() > 150
    assert (success[120] == 128).all() and not success[225].any()
    assert titled(grey, 64, "reach-v3", success=0.0).shape == (64, 64, 3)  # no room for the name


def test_a_shorter_video_holds_its_last_frame() -> None:
    short, long = (
        Film([np.full((4, 4, 3), shade, np.uint8) for shade in shades], fps=20)
        for shades in ((10, 20), (30, 40, 50))
    )
    film = tiled([short, long, short])
    assert [[int(p[0, 0, 0]), int(p[0, 4, 0]), int(p[0, 8, 0])] for p in film.pictures] == [
        [10, 30, 10], [20, 40, 20], [20, 50, 20]
    ]  # fmt: skip
    assert tiled([short] * 10).pictures[0].shape == (12, 16, 3)
    assert not tiled([short] * 10).pictures[0][8:, 8:].any()


@pytest.mark.parametrize(
    ("task", "camera", "words"),
    [
        ("drawer-close-v3", "corner5", ["corner5", "topview", "did you mean 'corner"]),
        ("HalfCheetah-v5", "corner", ["HalfCheetah-v5", "it has track"]),
        ("Pendulum-v1", "corner", ["Pendulum-v1 has no cameras"]),
    ],
)
def test_an_unknown_camera_is_rejected(task: str, camera: str, words: list[str]) -> None:
    suite = "metaworld" if task.endswith("v3") else "gymnasium"
    message = error_of(make_env, suite, task, render_mode="rgb_array", camera=camera)
    assert all(word in message for word in ["--camera", *words])


def test_rendering_without_a_display_is_rejected(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":4321")
    message = error_of(check_window, policy.config.env, seed=1, tasks=[0], camera=None)
    assert "--render: cannot open a window (X11: " in message and "--video" in message
