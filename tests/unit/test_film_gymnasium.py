"""Films of Gymnasium's tasks."""

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


def stock(policy: Policy, steps: int) -> np.ndarray:
    """What Gymnasium's own environment shows after as many steps of a film's episode, without
    shadows, reflections and antialiasing.

    Its camera follows with a lag, so each step is drawn.
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
        picture: Any = env.render()
    env.close()
    return picture


def test_a_film_is_what_gymnasium_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = {"env__suite": "gymnasium", "env__tasks": [TASK], "env__max_episode_frames": 8}
    policy = load_policy(weights_of(train(tmp_path, **env)))
    choose_renderer(monkeypatch)
    film = record(Replay(policy.config.env, policy.actor, 0, policy.seed))
    assert len(film.pictures) == 8
    below = slice(40, None)  # the title
    assert np.array_equal(film.pictures[-1][below], stock(policy, 8)[below])
