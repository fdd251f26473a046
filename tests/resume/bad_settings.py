"""Bad flags, configurations and spaces."""

import json
import random
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple
from resume.attempt import NEW, TINY_RUN, Attempt
from resume.mutations import SMALL, as_json, mutate_tree, odd
from tiny_runs import ROOT, sets

from torchrl_lite.algo.registry import SECTIONS
from torchrl_lite.config import model, read_tree, reference

FIELDS = [key for key, *_ in reference(model("sac", SECTIONS))]
METAWORLD_TASK = ["--task", "reach-v3"]
CONFIGS = [read_tree(path) for path in sorted((ROOT / "config").rglob("*.json"))]


def _word(rng: random.Random) -> str:
    """A value as a shell could pass it, without NUL bytes."""
    value = odd(rng)
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("\0", "0").encode(errors="replace").decode()


def flags(rng: random.Random, _folder: Path) -> Attempt:
    known = ["--config", "--task", "--task_id", "--seed", "--id", "--log_dir", "--device", "--set",
             "--until", "--stage", "--resume", "--init_from", "--track", "--run_name", "--ta",
             "--help_config", "-x", "--num_epochs"]  # fmt: skip
    words = ["mt10", "mt3", "reach-v3", "cuda:7", "agent.zip", "x", "train.num_epochs=1", "cpu"]
    argv = NEW + METAWORLD_TASK * rng.randrange(2)
    for _ in range(rng.randint(1, 3)):
        value = rng.choice([[], [_word(rng)], [rng.choice(words)]])
        argv = [*argv, rng.choice(known), *value]
    return Attempt("train", argv, ("--", "usage", ".json", "env.", "arg"), trains=False)


def settings(rng: random.Random, _folder: Path) -> Attempt:
    argv = [*NEW, *METAWORLD_TASK]
    for _ in range(rng.randint(1, 3)):
        key = rng.choice([*FIELDS] * 20 + ["", "=", "env", "net", "td3", "a.b.c", "train."])
        argv += ["--set", f"{key}={_word(rng)}" if rng.random() < 0.95 else _word(rng)]
    return Attempt("train", argv, ("--set", ".json: "), trains=False)


def configurations(rng: random.Random, folder: Path) -> Attempt:
    tree = mutate_tree(rng, rng.choice(CONFIGS))
    path = folder / rng.choice(["a.json", "a.json", "a.yaml", "a.yml"])
    path.write_bytes(as_json(rng, tree))
    return Attempt("train", [*NEW, "--config", str(path)], (path.name, "env."), trains=False)


def odd_runs(rng: random.Random, _folder: Path) -> Attempt:
    """Trains with fields set to small numbers, valid or not."""
    changes = {rng.choice(FIELDS): rng.choice(SMALL) for _ in range(rng.randint(1, 2))}
    changes = {key: value for key, value in changes.items() if key != "system.workers"}
    argv = [*NEW, *sets(TINY_RUN | changes), "--until", "30"]
    return Attempt("train", argv, (": ",), may_fail=True)


def sweeps(rng: random.Random, _folder: Path) -> Attempt:
    argv = ["--starter", rng.choice(["st_sac", "mt_td3", "st_sac", _word(rng)]), "--log_dir", "."]
    values = {
        "--tasks": ["0-9", "0-99999999999", "reach-v3,", "9-0", ",", "٣"],
        "--seeds": ["1-5", "5-1", "1,1", "-", "1-", "999999999999", "1e3"],
        "--grid": ["sac.gamma=[0.9]", "sac.gamma=[0.9,0.9]", "env.tasks=[1]", "=[1]", "x=["],
        "--set": ["sac.gamma=0.9", "sac.gamma=x", "="],
        "--config": ["mt3", "a.json", "agent.zip"],
        "--cpus": ["0", "-1", "1.5"], "--gpus": ["0.5", "1.5", "nan", "inf"],
        "--id": ["a", "../a", ""], "--address": ["local", "auto", "a:1", "::"],
    }  # fmt: skip
    for flag in rng.sample(list(values), rng.randint(1, 3)):
        argv += [flag, rng.choice([*values[flag], _word(rng)])]
    return Attempt("sweep", argv, ("--", ".json: ", "env.", "agent.zip"))


def spaces(rng: random.Random, _folder: Path) -> Attempt:
    """Environments with odd spaces, which return samples of these."""
    observations, actions = _space(rng), _space(rng) if rng.random() < 0.7 else Box(-1, 1, (2,))
    name = f"Odd{rng.randrange(10**9)}-v0"
    limit = rng.choice([5, 5, 5, 1, None, 0, 10**7])
    spaces = {"observations": observations, "actions": actions}
    gym.register(name, _Odd, max_episode_steps=limit or None, kwargs=spaces)
    fields = TINY_RUN | {"env.tasks": [name]}
    fields["env.max_episode_frames"] = rng.choice([None, None, 3, 20])
    argv = [*NEW, *sets(fields), "--until", "20"]
    return Attempt("train", argv, (name, "env."), may_fail=True)


class _Odd(gym.Env):
    def __init__(
        self, observations: gym.Space, actions: gym.Space, render_mode: str | None = None
    ) -> None:
        self.observation_space, self.action_space = observations, actions
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:  # noqa: ARG002
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, _action: Any) -> Any:
        return self.observation_space.sample(), 0.0, False, False, {}


def _space(rng: random.Random) -> Any:
    dtype = rng.choice([np.float32] * 4 + [np.float64, np.float16, np.int64, np.uint8, np.int8])
    shape = rng.choice([(1,), (3,), (40,), (2,), (), (0,), (2, 2), (1, 1, 1), (4096,)])
    low, high = rng.choice([(-1, 1), (-1, 1), (0, 1), (0, 0), (-np.inf, np.inf), (-3e38, 3e38)])
    if not np.issubdtype(dtype, np.floating):
        low, high = 0, 1
    if dtype is np.float16:
        low, high = np.clip((low, high), -6e4, 6e4)
    box = Box(dtype(low), dtype(high), shape, dtype)
    others = [Discrete(3), MultiDiscrete([2, 3]), Tuple((box, box)), Dict(a=box), Dict()]
    return box if rng.random() < 0.85 else rng.choice(others)
