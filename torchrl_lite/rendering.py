"""Pictures without a screen, and films of them."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import imageio.v3 as imageio
from jaxtyping import UInt8
from numpy import ndarray

from torchrl_lite.config import ConfigError

BACKENDS = {"egl": "libegl1", "osmesa": "libosmesa6"}
"""MuJoCo's ways to draw without a screen, best first, and the system package that each needs."""
SUFFIXES = (".mp4", ".gif")

_TRIAL = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco/>")
renderer = mujoco.Renderer(model, 8, 8)
renderer.update_scene(mujoco.MjData(model))
renderer.render()
print("drawn", flush=True)
"""


def use_headless_backend() -> None:
    """Sets ``MUJOCO_GL`` to the first backend that really draws here, unless it is set already.

    Each is tried in a process of its own: MuJoCo chooses for good when it is imported, so this
    must come before any environment.

    Raises:
        ConfigError: none draws; names the packages that would help.
    """
    if os.environ.get("MUJOCO_GL"):
        return
    for backend in BACKENDS:
        trial = subprocess.run(
            [sys.executable, "-c", _TRIAL],
            env=os.environ | {"MUJOCO_GL": backend},
            capture_output=True,
            text=True,
            check=False,
        )
        if "drawn" in trial.stdout:
            os.environ["MUJOCO_GL"] = backend
            return
    packages = " or ".join(BACKENDS.values())
    raise ConfigError(f"nothing draws without a screen here: install the system package {packages}")


def check_film(path: Path) -> None:
    """Raises ConfigError where a film cannot be written under this name."""
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"--video: {path.name!r} ends in none of {', '.join(SUFFIXES)}")


def write_film(path: Path, frames: Iterable[UInt8[ndarray, "H W 3"]], *, fps: int) -> None:
    """Frames, the right way up, as .mp4, or as .gif of half the size, which is large enough."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gif":
        small = [frame[::2, ::2] for frame in frames]
        imageio.imwrite(path, small, duration=1000 / fps, loop=0)
    else:
        imageio.imwrite(path, list(frames), fps=fps, codec="libx264")
