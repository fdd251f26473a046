"""Frames per second of collection: ten MT10 environments with a 3 x 400 policy."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import harmonic_mean
from typing import Any

import gymnasium as gym
import metaworld  # noqa: F401  (registers its environments)
import numpy as np
import torch

from torchrl_lite.algo.sac import SAC, SACConfig
from torchrl_lite.bench.env import physics
from torchrl_lite.bench.measure import Contender, Report, interleave
from torchrl_lite.collector.collector import Collector
from torchrl_lite.collector.setup import RolloutSetup
from torchrl_lite.config import EnvConfig, NetConfig
from torchrl_lite.env.make import make_spec
from torchrl_lite.env.metaworld import MT10, OBS_DIM
from torchrl_lite.network.actor import Actor
from torchrl_lite.network.torch_settings import settings_kept

ASYNC, SYNC = "gym.make_vec async", "gym.make_vec sync"


def _vector_env(strategy: str, actor: Actor, frames: int, stack: ExitStack) -> Contender:
    env: Any = gym.make_vec("Meta-World/MT10", vector_strategy=strategy, seed=1)
    stack.callback(env.close)
    task = torch.arange(len(MT10))
    obs = env.reset()[0]

    @torch.no_grad()
    def run() -> int:
        nonlocal obs
        for _ in range(frames):
            rows = torch.from_numpy(np.asarray(obs, np.float32)[:, None, :OBS_DIM])
            noise = torch.randn(len(MT10), 1, 4)
            obs = env.step(actor.explore(rows, task, noise)[:, 0].numpy())[0]
        return frames * len(MT10)

    return run


def ten_envs(tasks: Sequence[str] = MT10) -> tuple[EnvConfig, Actor]:
    """The measured setup, also used by the Ray and EnvPool benchmarks."""
    # One goal: its reset is cached after the first episode, as all 50 soon are in a run.
    config = EnvConfig(name="bench", tasks=list(tasks), num_envs=10, group_size=5, num_goals=1)
    net = NetConfig(hidden_shapes=[400, 400, 400], init="metaworld_algorithms")
    torch.manual_seed(0)
    learner = SAC(SACConfig(), net, make_spec(config), device=torch.device("cpu"), seed=1)
    return config, learner.actor


def collector(
    config: EnvConfig, actor: Actor, frames: int, workers: int, stack: ExitStack
) -> Contender:
    source = stack.enter_context(
        Collector(
            RolloutSetup(config, make_spec(config), actor, seed=1),
            epoch_frames=frames,
            workers=workers,
        )
    )

    def run() -> int:
        source.submit(actor, range(len(config.tasks)), random=False)
        source.result()
        return frames * config.num_envs

    return run


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread, as in every worker: more would compete with the simulators."""
    with settings_kept():
        torch.set_num_threads(1)
        yield


def measure(*, frames: int, rounds: int, workers: int) -> list[Report]:
    config, actor = ten_envs()
    limits = interleave({task: physics(task, 5 * frames) for task in MT10}, rounds)
    with ExitStack() as stack, one_thread():
        makers: dict[str, Callable[[], Contender]] = {
            SYNC: lambda: _vector_env("sync", actor, frames, stack),
            ASYNC: lambda: _vector_env("async", actor, frames, stack),
            "torchrl_lite, in process": lambda: collector(config, actor, frames, 0, stack),
            f"torchrl_lite, {workers} workers": lambda: collector(
                config, actor, frames, workers, stack
            ),
        }
        rates = interleave({name: make() for name, make in makers.items()}, rounds)
    limit = workers * harmonic_mean(limits.values())
    title = f"MT10, ten environments, 3 x 400 policy, {workers} cores"
    return [
        Report(title, "frames/s", ASYNC, rates, (f"physics alone on {workers} cores", limit)),
    ]
