"""A complete small training with torchrl_lite and Stable-Baselines3, on the same budget."""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import metaworld  # noqa: F401  (registers its environments)
import torch

from torchrl_lite.bench.measure import Report, overrides
from torchrl_lite.bench.peer import START, sac, success_rate
from torchrl_lite.command import launch
from torchrl_lite.config.extras import import_extra
from torchrl_lite.errors import UserError

OURS, SB3 = "torchrl_lite", "Stable-Baselines3"
EPOCH, EPISODES = 500, 10


def _ours(task: str, frames: int, threads: int) -> tuple[float, float]:
    """Wall time in seconds, and the final success rate."""
    settings = {
        "train.num_epochs": (frames - START) // EPOCH,
        "train.eval_interval": 10_000,
        "train.final_eval_episodes": EPISODES,
        "system.threads": threads,
    }
    flags = ["--task", task, "--device", "cpu"]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        code = launch.main("sac", [*flags, "--log_dir", folder, *overrides(settings)])
        seconds = time.perf_counter() - started
        if code:
            raise RuntimeError(f"the training ended with exit code {code}")
        (result,) = Path(folder).rglob("result.json")
        return seconds, json.loads(result.read_text(encoding="utf-8"))["eval/success_rate"]


def _stable_baselines(task: str, frames: int, threads: int) -> tuple[float, float]:
    torch.set_num_threads(threads)
    started = time.perf_counter()
    env: Any = gym.make("Meta-World/MT1", env_name=task, seed=1)
    model = sac(env, seed=1, train_freq=EPOCH, gradient_steps=EPOCH)
    model.learn(frames)
    success = success_rate(model, env, [{}] * EPISODES)
    return time.perf_counter() - started, success


def measure(task: str, *, frames: int, threads: int) -> list[Report]:
    if frames <= START or frames % EPOCH:
        raise UserError(f"--frames: train needs a multiple of {EPOCH} above {START}")
    import_extra("stable_baselines3", "bench", needed_by="bench train")
    report = Report(
        f"{task}, {frames} frames from start to end, {threads} threads", "frames/s", SB3
    )
    for name, train in ((SB3, _stable_baselines), (OURS, _ours)):
        seconds, success = train(task, frames, threads)
        report.rates[f"{name} ({seconds:.0f} s, success {success:.2f})"] = frames / seconds
    report.baseline = next(iter(report.rates))
    return [report]
