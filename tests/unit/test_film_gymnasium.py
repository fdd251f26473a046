"""Videos of Gymnasium tasks."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from helpers import choose_renderer
from tiny_runs import train

from torchrl_lite.checkpoint.store import weights_of
from torchrl_lite.collector.plan import EVAL, EpisodeKey
from torchrl_lite.policies.film import Replay, record
from torchrl_lite.policies.load import load_policy
from torchrl_lite.policies.policy import Policy

TASK = "HalfCheetah-v5"


def gymnasium_image(policy: Policy, steps: int) -> np.ndarray:
    """Gymnasium's own rendering after this many steps of a video's episode, without shadows,
    reflections and antialiasing.

    Its camera lags behind, so every step is rendered.
    """
    env = gym.make(TASK, render_mode="rgb_array", camera_name="track")
    model: Any = env.unwrapped.model  # type: ignore[attr-defined]
    model.vis.quality.offsamples = model.light_castshadow[:] = model.mat_reflectance[:] = 0
    key = EpisodeKey(policy.seed, EVAL, 0, 0, 0)
    obs, _ = env.reset(seed=key.plan(horizon=8, act_dim=6, num_goals=50).seed)
    for _ in range(steps):
        rows = torch.from_numpy(obs.astype(np.float32))[None, None]
        with torch.no_grad():
            act = policy.actor.act(rows, torch.tensor([0]))[0, 0].numpy()
        obs = env.step(act)[0]
        image: Any = env.render()
    env.close()
    return image


def test_videos_match_gymnasiums_rendering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = {"env__suite": "gymnasium", "env__tasks": [TASK], "env__max_episode_frames": 8}
    policy = load_policy(weights_of(train(tmp_path, **env)))
    choose_renderer(monkeypatch)
    film = record(Replay(policy.config.env, policy.actor, 0, policy.seed))
    assert len(film.pictures) == 8
    below = slice(40, None)  # without the title
    assert np.array_equal(film.pictures[-1][below], gymnasium_image(policy, 8)[below])
