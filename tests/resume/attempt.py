"""One attempt with a bad input: a command run in this process on a copy of a small run."""

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from tiny_runs import TINY, sets

from torchrl_lite.command import diagnose, launch, play, plot
from torchrl_lite.command.flags import answer
from torchrl_lite.sweep import command as sweep
from torchrl_lite.sweep.plan import plan

TASK = "Pendulum-v1"
"""Quick to create: there is nothing for MuJoCo to compile."""
TINY_RUN = TINY | {
    "env.suite": "gymnasium",
    "env.tasks": [TASK],
    "env.max_episode_frames": 15,
    "replay_buffer.size": 100,
    "train.num_epochs": 3,
    "train.save_interval": 1,
}
RUN = Path("x", TASK, "1")
"""Relative to the folder of an attempt."""
TASK_FLAGS = ["--set", 'env.suite="gymnasium"', "--set", f'env.tasks=["{TASK}"]']
TRAIN = [*TASK_FLAGS, "--device", "cpu", "--id", "x", "--log_dir", "."]
NEW = ["--device", "cpu", "--id", "new", "--log_dir", "."]


class Attempt(NamedTuple):
    command: str
    argv: list[str]
    names: tuple[str, ...]
    """The error line must contain one of them."""
    may_fail: bool = False
    """Whether exit code 1 with one error line is allowed too."""
    trains: bool = True
    """If False, all input is checked, but no training starts."""

    def run(self) -> int:
        """Runs the command and returns its exit code."""
        if self.command == "train":
            with patch.object(launch, "work", launch.work if self.trains else lambda *_: {}):
                return launch.main("sac", self.argv, multi_task=None)
        if self.command == "sweep":
            return answer(lambda: 0 * len(plan(sweep.parse(self.argv))))
        mains = {"play": play.main, "plot": plot.main, "diagnose": diagnose.main}
        with (
            patch.object(sys, "argv", [self.command, *self.argv]),
            patch.object(play, "min", lambda *_: 0, create=True),  # no workers
        ):
            return mains[self.command]()


class Example:
    """A small finished run in ``folder``, made in this process so that it has all imports."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        argv = [*TRAIN[len(TASK_FLAGS) :], *sets(TINY_RUN)]
        argv[argv.index(".")] = str(folder)
        assert launch.main("sac", argv) == 0
        write_zip(folder / "agent.zip", {}, AGENT)
        curves = ["--metric", "return", "--out", str(folder / "curves.png")]
        for command, more in (("play", ["--episodes", "1", "--run"]), ("plot", curves),
                              ("diagnose", [])):  # fmt: skip
            Attempt(command, [*more, str(folder / RUN)], ()).run()


def _linear(name: str, size_in: int, size_out: int) -> dict[str, torch.Tensor]:
    return {f"{name}.weight": torch.ones(size_out, size_in), f"{name}.bias": torch.ones(size_out)}


AGENT = {
    **_linear("actor.latent_pi.0", 3, 8),
    **_linear("actor.mu", 8, 1),
    **_linear("actor.log_std", 8, 1),
}
"""Weights of a Stable-Baselines3 agent."""


def write_zip(path: Path, data: Any, tensors: Any) -> None:
    content = io.BytesIO()
    torch.save(tensors, content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps(data))
        archive.writestr("policy.pth", content.getvalue())
