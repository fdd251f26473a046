"""An attempt with a bad input: a command, run in this process on a copy of a small run."""

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
"""It is made at once, unlike what MuJoCo has to compile."""
TINY_RUN = TINY | {
    "env.suite": "gymnasium",
    "env.tasks": [TASK],
    "env.max_episode_frames": 15,
    "replay_buffer.size": 100,
    "train.num_epochs": 3,
    "train.save_interval": 1,
}
RUN = Path("x", TASK, "1")
"""In the folder of an attempt."""
ITS_TASK = ["--set", 'env.suite="gymnasium"', "--set", f'env.tasks=["{TASK}"]']
TRAIN = [*ITS_TASK, "--device", "cpu", "--id", "x", "--log_dir", "."]
NEW = ["--device", "cpu", "--id", "new", "--log_dir", "."]


class Attempt(NamedTuple):
    command: str
    argv: list[str]
    names: tuple[str, ...]
    """The line of a refusal contains one of them."""
    may_fail: bool = False
    """Exit code 1 with one line is an answer too."""
    trains: bool = True
    """Else all is checked, and no training begins."""

    def run(self) -> int:
        """The exit code."""
        if self.command == "train":
            with patch.object(launch, "work", launch.work if self.trains else lambda *_: {}):
                return launch.main("sac", self.argv, multi_task=None)
        if self.command == "sweep":
            return answer(lambda: 0 * len(plan(sweep.parse(self.argv))))
        mains = {"play": play.main, "plot": plot.main, "diagnose": diagnose.main}
        with (
            patch.object(sys, "argv", [self.command, *self.argv]),
            patch.object(play, "min", lambda *_: 0, create=True),  # workers: none
        ):
            return mains[self.command]()


class Example:
    """A small finished run, in ``folder``; made in this process, which then has all imports."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        argv = [*TRAIN[len(ITS_TASK) :], *sets(TINY_RUN)]
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
"""Of Stable-Baselines3."""


def write_zip(path: Path, data: Any, tensors: Any) -> None:
    content = io.BytesIO()
    torch.save(tensors, content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps(data))
        archive.writestr("policy.pth", content.getvalue())
