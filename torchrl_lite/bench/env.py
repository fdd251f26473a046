"""One environment on one core: torchrl_lite, stock Meta-World, and the simulator alone."""

from collections.abc import Sequence
from statistics import harmonic_mean
from typing import Any

import gymnasium as gym
import metaworld  # noqa: F401  (registers its environments)
import mujoco
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS

from torchrl_lite.bench.measure import Contender, Report, interleave
from torchrl_lite.env.goals import NUM_GOALS
from torchrl_lite.env.lean_model import lean
from torchrl_lite.env.make import make_env

STOCK, OURS, PHYSICS = "gym.make (stock)", "torchrl_lite", "physics alone"
EPISODE = 500


def _ours(task: str) -> gym.Env:
    """With every goal's reset already cached, as in a run once each goal was used."""
    env = make_env("metaworld", task, seed=1)
    for goal in range(NUM_GOALS):
        env.reset(options={"goal": goal})
    return env


def _episodes(env: gym.Env, frames: int) -> Contender:
    actions = np.random.default_rng(0).uniform(-1, 1, (EPISODE, 4)).astype(np.float32)

    def run() -> int:
        for frame in range(frames):
            if frame % EPISODE == 0:
                env.reset()
            env.step(actions[frame % EPISODE])
        return frames

    return run


def physics(task: str, frames: int) -> Contender:
    """The minimum work of any environment: five substeps, and the positions after them."""
    env: Any = lean(ALL_V3_ENVIRONMENTS[task])()
    model, data = env.model, env.data
    controls = np.random.default_rng(0).uniform(-1, 1, (EPISODE, 2))

    def run() -> int:
        mujoco.mj_resetData(model, data)
        for frame in range(frames):
            data.ctrl[:] = controls[frame % EPISODE]
            mujoco.mj_step(model, data, 5)
            mujoco.mj_forward(model, data)
        return frames

    return run


def measure(tasks: Sequence[str], *, frames: int, rounds: int) -> list[Report]:
    """A report per task (resets, which are cached, included), and one with the harmonic means."""
    reports = []
    for task in tasks:
        rates = interleave(
            {
                STOCK: _episodes(gym.make("Meta-World/MT1", env_name=task, seed=1), frames),
                OURS: _episodes(_ours(task), frames),
                PHYSICS: physics(task, frames),
            },
            rounds,
        )
        floor = (PHYSICS, rates.pop(PHYSICS))
        reports.append(Report(task, "frames/s", STOCK, rates, floor))
    mean = Report(f"harmonic mean of {len(tasks)} tasks, one core", "frames/s", STOCK)
    for name in (STOCK, OURS):
        mean.rates[name] = harmonic_mean(report.rates[name] for report in reports)
    limits = [report.floor[1] for report in reports if report.floor]
    mean.floor = (PHYSICS, harmonic_mean(limits))
    return [*reports, mean]
