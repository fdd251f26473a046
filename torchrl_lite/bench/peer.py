"""Stable-Baselines3's SAC in a complete training: the learner, and how it is evaluated."""

from collections.abc import Mapping, Sequence
from typing import Any

START = 10_000
"""Frames before the first update."""


def sac(env: Any, *, seed: int, **more: Any) -> Any:
    """With the values of our default configuration."""
    from stable_baselines3 import SAC

    return SAC(
        "MlpPolicy", env, learning_rate=3e-4, buffer_size=1_000_000, learning_starts=START,
        batch_size=256, seed=seed, device="cpu", policy_kwargs={"net_arch": [256, 256]}, **more,
    )  # fmt: skip


def success_rate(model: Any, env: Any, resets: Sequence[Mapping[str, Any]]) -> float:
    """Of one deterministic episode after each reset with these arguments."""
    solved = 0.0
    for arguments in resets:
        obs, _ = env.reset(**arguments)
        ended, success = False, 0.0
        while not ended:
            action, _ = model.predict(obs, deterministic=True)
            obs, _, terminated, truncated, info = env.step(action)
            success, ended = max(success, info["success"]), terminated or truncated
        solved += success
    return solved / len(resets)
