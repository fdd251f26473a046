"""Films of Gymnasium's tasks, by ``play.py`` and in training."""

from io import BytesIO
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from helpers import choose_renderer, train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from torchrl_lite.collector.episode import EVAL, EpisodeKey
from torchrl_lite.policies import play
from torchrl_lite.policies.film import record

TASK = "HalfCheetah-v5"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is filmed at its end."""
    env = {"env__suite": "gymnasium", "env__tasks": [TASK], "env__max_episode_frames": 8}
    with pytest.MonkeyPatch.context() as patch:
        choose_renderer(patch)
        return train(tmp_path_factory.mktemp("cheetah"), **env, log__video=True)


def stock(policy: play.Policy, steps: int) -> np.ndarray:
    """What Gymnasium's own environment shows after as many steps of a film's episode.

    Its camera follows with a lag, so each step is drawn.
    """
    env = gym.make(TASK, render_mode="rgb_array", camera_name="track")
    key = EpisodeKey(policy.seed, EVAL, 0, 0, 0)
    obs, _ = env.reset(seed=key.plan(horizon=8, act_dim=6, num_goals=50).seed)
    for _ in range(steps):
        rows = torch.from_numpy(obs.astype(np.float32))[None, None]
        with torch.no_grad():
            act = policy.actor.act(rows, torch.tensor([0]))[0, 0].numpy()
        obs = env.step(act)[0]
        picture: Any = env.render()
    env.close()
    return picture


def test_training_films_it_for_the_folder_and_for_tensorboard(run: Path) -> None:
    (film,) = (run / "video").iterdir()
    assert film.name == f"30_{TASK}.mp4"
    pictures = imageio.imread(film)
    assert pictures.shape == (4, 480, 480, 3)  # ten a second, of twenty steps
    assert_right_way_up(pictures[-1])
    events = EventAccumulator(str(run), size_guidance={"images": 0}).Reload()
    (shown,) = events.Images(f"video/{TASK}")
    assert_right_way_up(imageio.imread(BytesIO(shown.encoded_image_string), index=None)[-1])


def test_play_films_what_gymnasium_draws(run: Path) -> None:
    policy = play.load_policy(play.weights_of(run))
    with pytest.MonkeyPatch.context() as patch:
        choose_renderer(patch)
        film = record(policy.config.env, policy.actor, 0, seed=policy.seed)
        theirs = stock(policy, 8)
    assert len(film.pictures) == 8
    assert np.array_equal(film.pictures[-1], theirs)
    assert_right_way_up(film.pictures[-1])


def assert_right_way_up(picture: np.ndarray) -> None:
    """The sky is of one colour in a row, the tiles of the floor are not."""
    sky, floor = (float(row.mean(1).std()) for row in (picture[8], picture[-8]))
    assert sky < 10 < 30 < floor
