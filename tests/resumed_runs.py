"""A run of seconds on one task of Meta-World, and what it leaves."""

import json
from pathlib import Path

from torchrl_lite.command.launch import main

TASK = "reach-v3"
TINY = {
    "env.max_episode_frames": 15,
    "net.hidden_shapes": [8],
    "replay_buffer.size": 1000,
    "train.epoch_frames": 10,
    "train.opt_steps": 2,
    "train.pretrain_epochs": 1,
    "train.num_epochs": 4,
    "train.batch_size": 8,
    "train.eval_interval": 10,
    "train.final_eval_episodes": 1,
    "train.save_interval": 1,
    "system.threads": 1,
    "system.workers": 0,
}


def resume(log_dir: Path, *more: str, sets: bool = False) -> int:
    flags = ["--task", TASK, "--device", "cpu", "--id", "x", "--log_dir", str(log_dir)]
    fields = [f"--set={key}={json.dumps(value)}" for key, value in TINY.items()] if sets else []
    return main("sac", [*flags, *fields, *more])


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
