"""EnvPool's Meta-World beside this one, with the same policy, task by task: a pool holds one."""

from contextlib import ExitStack
from importlib.util import find_spec
from statistics import harmonic_mean
from typing import Any

import numpy as np
import torch

from torchrl_lite.bench.collect import collector, one_thread, ten_envs
from torchrl_lite.bench.measure import Contender, Report, interleave
from torchrl_lite.env.metaworld import MT10
from torchrl_lite.network import Actor


def pool_name(task: str) -> str:
    """``drawer-close-v3`` as EnvPool calls it: ``MetaWorld/DrawerClose-v3``."""
    *words, version = task.split("-")
    return f"MetaWorld/{''.join(word.capitalize() for word in words)}-{version}"


def contender(task: str, actor: Actor, frames: int, *, threads: int, envs: int) -> Contender:
    import envpool

    pool: Any = envpool.make(
        pool_name(task), env_type="gymnasium", num_envs=envs, num_threads=threads, seed=1
    )
    row = torch.zeros(1, dtype=torch.int64)
    obs = pool.reset()[0]

    @torch.no_grad()
    def run() -> int:
        nonlocal obs
        for _ in range(frames):
            rows = torch.from_numpy(np.asarray(obs, np.float32))[None]
            obs = pool.step(actor.explore(rows, row, torch.randn(1, envs, 4))[0].numpy())[0]
        return frames * envs

    return run


def measure(*, frames: int, rounds: int, workers: int) -> list[Report]:
    """The harmonic means over MT10, resets included; nothing where EnvPool is not installed."""
    if find_spec("envpool") is None:
        return []
    baseline = f"EnvPool, {workers} threads"
    rates = []
    with one_thread():
        for task in MT10:
            config, actor = ten_envs([task])
            with ExitStack() as stack:
                contenders = {
                    "EnvPool, 1 thread": contender(task, actor, frames, threads=1, envs=10),
                    baseline: contender(task, actor, frames, threads=workers, envs=10),
                    "torchrl_lite, in process": collector(config, actor, frames, 0, stack),
                    f"torchrl_lite, {workers} workers": collector(
                        config, actor, frames, workers, stack
                    ),
                }
                rates.append(interleave(contenders, rounds))
    title = "ten environments of one task, the same policy: harmonic mean of MT10's tasks"
    means = {name: harmonic_mean(each[name] for each in rates) for name in rates[0]}
    return [Report(title, "frames/s", baseline, means)]
