"""A policy that is played is the one that was saved, and pictures are Meta-World's own."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
from helpers import choose_renderer

from torchrl_lite.command import launch
from torchrl_lite.env.make import make_env
from torchrl_lite.env.rendering import BACKENDS, use_headless_backend
from torchrl_lite.errors import UserError
from torchrl_lite.policies.play import evaluate, load_policy, summary, tasks_of, weights_of
from torchrl_lite.reporting.film import Film, write_film

STARTER = Path(__file__).parents[2] / "starter" / "play.py"
TASKS = ["drawer-close-v3", "reach-v3"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two tasks and one evaluation."""
    folder = tmp_path_factory.mktemp("play")
    config = {
        "env": {"tasks": TASKS, "name": "two", "num_envs": 2, "group_size": 2,
                "max_episode_frames": 20, "num_goals": 6},
        "net": {"hidden_shapes": [8]},
        "replay_buffer": {"size": 1000},
        "train": {"num_epochs": 2, "pretrain_epochs": 1, "epoch_frames": 20, "opt_steps": 2,
                  "batch_size": 4, "eval_interval": 3, "eval_episodes": 3,
                  "final_eval_episodes": 3},
        "system": {"workers": 0, "threads": 1},
    }  # fmt: skip
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    arguments = ["--config", str(path), "--seed", "4", "--log_dir", str(folder / "log")]
    assert launch.main("sac", arguments, multi_task=True) == 0
    return folder / "log" / "config" / "two" / "4"


def play(*arguments: Any, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(STARTER), *map(str, arguments)],
        capture_output=True, text=True, check=False, env=os.environ | environment,
    )  # fmt: skip


@pytest.mark.parametrize("workers", [0, 1])
def test_the_best_weights_give_the_evaluation_of_the_log(run: Path, workers: int) -> None:
    with (run / "log.csv").open(newline="") as file:
        *_, row = csv.DictReader(file)
    weights = weights_of(run)
    policy = load_policy(weights)
    results, rate = evaluate(policy, [0, 1], episodes=3, seed=policy.seed, workers=workers)
    summaries = [summary(one) for one in results]
    assert [one.task for one in summaries] == TASKS
    for one in summaries:
        assert one.ret == float(row[f"eval_return/{one.task}"])
        assert one.success == float(row[f"eval_success/{one.task}"])
        assert (one.episodes, one.length) == (3, 20)
    assert rate > 0
    assert policy.frames == 120


def test_a_run_that_was_not_evaluated_has_its_newest_weights(run: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    for epoch in (9, 10):
        (tmp_path / "checkpoint" / f"last_{epoch}.pt").touch()
    assert weights_of(tmp_path).name == "last_10.pt"
    (newest,) = sorted(run.glob("checkpoint/last_3.pt"))
    assert load_policy(newest).frames == load_policy(weights_of(run)).frames


def test_another_seed_draws_other_goals(run: Path) -> None:
    policy = load_policy(weights_of(run))
    one, other = (evaluate(policy, [1], episodes=3, seed=seed, workers=0)[0] for seed in (4, 5))
    assert one[0].returns != other[0].returns


def test_a_checkpoint_outside_of_a_run_has_seed_1(run: Path, tmp_path: Path) -> None:
    assert load_policy(weights_of(run)).seed == 4
    assert load_policy(Path(shutil.copy(weights_of(run), tmp_path))).seed == 1


def test_some_of_the_tasks_in_the_order_asked_for(run: Path) -> None:
    policy = load_policy(weights_of(run))
    assert tasks_of(policy, []) == [0, 1]
    assert tasks_of(policy, ["reach-v3"]) == [1]
    with pytest.raises(UserError, match=r"--task: 'reach-v2'.*reach-v3"):
        tasks_of(policy, ["reach-v2"])
    with pytest.raises(UserError, match=r"it has drawer-close-v3, reach-v3$"):
        tasks_of(policy, ["nothing-like-them"])


def test_a_folder_above_a_run_tells_where_the_run_is(run: Path) -> None:
    with pytest.raises(UserError, match=re.escape(f"below it there is {run}")):
        weights_of(run.parents[1])


def test_the_starter_prints_a_table_and_writes_its_figures(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    done = play("--run", run, "--episodes", 3, "--task", "reach-v3", "--json", out)
    assert done.returncode == 0, done.stderr
    assert "reach-v3" in done.stdout
    (figures,) = json.loads(out.read_text())["tasks"]
    assert figures["episodes"] == 3
    # Wilson's interval for 0 of 3, from its formula: the upper end is z^2 / (3 + z^2).
    assert (figures["low"], figures["high"]) == pytest.approx(
        (0, 1.96**2 / (3 + 1.96**2)), abs=1e-4
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--run", "--checkpoint"]),
        (["--run", "no-such-run"], ["--run", "no-such-run"]),
        (["--checkpoint", "no-such.pt"], ["no-such.pt"]),
        (["--run", "{run}", "--episodes", "0"], ["--episodes"]),
        (["--run", "{run}", "--episodes", "1000000000"], ["--episodes", "65536"]),
        (["--run", "{run}", "--workers", "100000"], ["--workers", "1024"]),
        (["--run", "{run}", "--video", "film.avi"], ["--video", ".mp4", ".gif"]),
        (["--run", "{run}", "--task", "reach"], ["--task", "reach-v3"]),
        (["--run", "{run}", "--seed", "-1"], ["--seed", "-1"]),
        (["--run", "{run}", "--camera", "corner"], ["--camera", "--video", "--render"]),
        (["--run", "{run}", "--video", "x.gif", "--camera", "corner9"], ["--camera", "corner3"]),
        (["--run", "{run}", "--video", "x.gif", "--render", "human"], ["--video", "--render"]),
    ],
)
def test_mistakes_end_with_exit_code_2(run: Path, arguments: list[str], words: list[str]) -> None:
    """Before anything is evaluated."""
    done = play(*[argument.format(run=run) for argument in arguments])
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert all(word in done.stderr for word in words)


def test_a_damaged_file_is_named(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(weights_of(run).read_bytes()[:-100])
    done = play("--checkpoint", path)
    assert done.returncode == 1
    assert str(path) in done.stderr
    assert "Traceback" not in done.stderr


# --- pictures -------------------------------------------------------------------------------------


def test_a_backend_that_is_chosen_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "something")
    use_headless_backend()
    assert os.environ["MUJOCO_GL"] == "something"


def test_where_nothing_draws_the_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr("torchrl_lite.env.rendering._TRIAL", "raise SystemExit(1)")
    with pytest.raises(UserError, match=" or ".join(BACKENDS.values())):
        use_headless_backend()
    assert "MUJOCO_GL" not in os.environ


@pytest.mark.parametrize("suffix", ["gif", "mp4"])
def test_a_film_shows_its_frames_the_right_way_up(tmp_path: Path, suffix: str) -> None:
    """Frames that are dark below and, one after the other, ever brighter above."""
    frames = np.zeros((6, 64, 64, 3), np.uint8)
    for index, frame in enumerate(frames):
        frame[:32] = 100 + 25 * index
    path = tmp_path / "folder" / f"film.{suffix}"
    write_film(path, Film(frames, fps=20))
    shown = imageio.imread(path).astype(float)
    assert len(shown) == 6
    half = shown.shape[1] // 2
    assert shown[:, half + 4 :].mean() < 12
    brightness = shown[:, : half - 4].mean(axis=(1, 2, 3))
    assert brightness == pytest.approx(100 + 25 * np.arange(6), abs=12)


OWN_RENDERER = """
import json, sys
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from torchrl_lite.policies import play
from torchrl_lite.env.goals import goals

policy = play.load_policy(play.weights_of(play.Path(sys.argv[1])))
play.write_film = lambda path, film: pictures.extend(film.pictures[:1])
for camera in (None, "corner"):
    pictures = []
    play.film(play.Path("unused"), policy, 0, seed=4, camera=camera)
    (ours,) = pictures
    env = ALL_V3_ENVIRONMENTS["drawer-close-v3"](render_mode="rgb_array", camera_name=camera)
    env.set_task(goals("drawer-close-v3", 4)[0])
    obs, _ = env.reset()
    import torch
    for _ in range(1):  # the first of the film's pictures
        with torch.no_grad():
            rows = torch.from_numpy(obs.astype(np.float32))[None, None]
            act = policy.actor.act(rows, torch.tensor([0]))[0, 0].numpy()
        obs = env.step(act)[0]
    stock = env.render()
    env.close()
    different = [abs(ours.astype(float) - one).mean() for one in (stock, stock[::-1, ::-1])]
    print(json.dumps([*different, stock.std(), *stock.shape]))
"""


def test_a_picture_is_that_of_metaworlds_own_renderer_the_right_way_up(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its corner cameras hang upside down, which a half turn puts right."""
    choose_renderer(monkeypatch)
    done = subprocess.run(
        [sys.executable, "-c", OWN_RENDERER, str(run)], capture_output=True, text=True, check=True
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    for (upright, turned, contrast, *shape), hangs in zip(told, [False, True], strict=True):
        assert shape == [480, 480, 3]
        assert contrast > 10
        if hangs:
            assert turned < 0.01 < upright  # of 255: a few pixels at edges
        else:
            assert upright == 0 < turned


@pytest.mark.parametrize(
    ("task", "camera", "words"),
    [
        ("drawer-close-v3", "corner5", ["corner5", "topview", "did you mean 'corner"]),
        ("HalfCheetah-v5", "corner", ["HalfCheetah-v5", "it has track"]),
        ("Pendulum-v1", "corner", ["Pendulum-v1 has no cameras"]),
    ],
)
def test_a_camera_that_is_not_there_is_told(task: str, camera: str, words: list[str]) -> None:
    suite = "metaworld" if task.endswith("v3") else "gymnasium"
    with pytest.raises(UserError) as caught:
        make_env(suite, task, render_mode="rgb_array", camera=camera)
    assert all(word in str(caught.value) for word in ["--camera", *words])
