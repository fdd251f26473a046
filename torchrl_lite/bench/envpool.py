"""Comparison with EnvPool's Meta-World, with the same policy; one task per pool."""

from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from statistics import harmonic_mean
from typing import Any

import numpy as np
import torch

from torchrl_lite.bench.collect import collector, one_thread, ten_envs
from torchrl_lite.bench.measure import Contender, Report, interleave
from torchrl_lite.env.metaworld import MT10
from torchrl_lite.network.actor import Actor


def pool_name(task: str) -> str:
    """EnvPool's name for ``drawer-close-v3``: ``MetaWorld/DrawerClose-v3``."""
    *words, version = task.split("-")
    return f"MetaWorld/{''.join(word.capitalize() for word in words)}-{version}"


def contender(
    task: str, actor: Actor, frames: int, *, threads: int, envs: int, batch: int
) -> Contender:
    """The policy acts for the first ``batch`` environments that are ready; if these are not all,
    it computes while the others simulate."""
    import envpool

    pool: Any = envpool.make(
        pool_name(task),
        env_type="gymnasium", num_envs=envs, batch_size=batch, num_threads=threads, seed=1,
    )  # fmt: skip
    row = torch.zeros(1, dtype=torch.int64)
    pool.async_reset()

    @torch.no_grad()
    def run() -> int:
        for _ in range(frames * envs // batch):
            obs, *_, info = pool.recv()
            rows = torch.from_numpy(np.asarray(obs, np.float32))[None]
            actions = actor.explore(rows, row, torch.randn(1, batch, 4))[0].numpy()
            pool.send(actions, info["env_id"])
        return frames * envs

    return run


def measure(*, frames: int, rounds: int, workers: int) -> list[Report]:
    """Harmonic means over MT10, cached resets included; empty if EnvPool is not installed."""
    if find_spec("envpool") is None:
        return []
    baseline = f"EnvPool, {workers} threads"
    rates = []
    with one_thread():
        for task in MT10:
            config, actor = ten_envs([task])
            pool = partial(contender, task, actor, frames, envs=10)
            with ExitStack() as stack:
                contenders = {
                    "EnvPool, 1 thread": pool(threads=1, batch=10),
                    baseline: pool(threads=workers, batch=10),
                    f"{baseline}, asynchronous": pool(threads=workers, batch=5),
                    "torchrl_lite, in process": collector(config, actor, frames, 0, stack),
                    f"torchrl_lite, {workers} workers": collector(
                        config, actor, frames, workers, stack
                    ),
                }
                rates.append(interleave(contenders, rounds))
    title = "ten environments of one task, the same policy: harmonic mean of MT10's tasks"
    means = {name: harmonic_mean(each[name] for each in rates) for name in rates[0]}
    return [Report(title, "frames/s", baseline, means)]
