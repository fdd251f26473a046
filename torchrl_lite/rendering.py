"""Pictures without a screen, films of them, and whether a window can be opened."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import imageio.v3 as imageio
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

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


_WINDOW_TRIAL = """
import glfw
glfw.init()
glfw.window_hint(glfw.VISIBLE, False)
if glfw.create_window(8, 8, "", None, None):
    print("drawn", flush=True)
"""


def use_headless_backend() -> None:
    """Sets ``MUJOCO_GL`` to the first backend that really draws here, unless it is set already.

    Must come before any environment is drawn.

    Raises:
        ConfigError: none draws; names the packages that would help.
    """
    if os.environ.get("MUJOCO_GL"):
        return
    for backend in BACKENDS:
        if draws(backend):
            os.environ["MUJOCO_GL"] = backend
            return
    packages = " or ".join(BACKENDS.values())
    raise ConfigError(f"nothing draws without a screen here: install the system package {packages}")


def draws(backend: str) -> bool:
    """Whether MuJoCo draws with it: tried in a process of its own, as a choice is for good."""
    return "drawn" in _trial(_TRIAL, MUJOCO_GL=backend).stdout


def check_window() -> None:
    """
    Raises:
        ConfigError: no window with OpenGL opens here: tried in a process of its own, which that
            may bring down.
    """
    trial = _trial(_WINDOW_TRIAL)
    if "drawn" not in trial.stdout:
        cause = re.search(r"GLFWError: \(\d+\) b?'(.*)'", trial.stderr)
        raise ConfigError(
            f"--render: no window opens here ({cause[1].strip() if cause else 'no screen'}); "
            "--video needs no screen"
        )


def _trial(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def check_film(path: Path) -> None:
    """Raises ConfigError where a film cannot be written under this name."""
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"--video: {path.name!r} ends in none of {', '.join(SUFFIXES)}")


class Film(NamedTuple):
    """Pictures, the right way up, and how many of them a second takes."""

    pictures: Sequence[UInt8[ndarray, "H W 3"]]
    fps: int


def write_film(path: Path, film: Film) -> None:
    """As .mp4, or as .gif."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gif":
        path.write_bytes(as_gif(film))
    else:
        imageio.imwrite(path, list(film.pictures), fps=film.fps, codec="libx264")


def as_gif(film: Film) -> bytes:
    """An animated picture of half the size, which is large enough.

    All pictures share their colours, undithered: noise that differs from picture to picture makes
    the file sixteen times as large.
    """
    small = [Image.fromarray(picture[::2, ::2]) for picture in film.pictures]
    sample = np.concatenate([picture[::8, ::8] for picture in film.pictures])
    palette = Image.fromarray(sample).quantize(256)
    first, *rest = [
        picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in small
    ]
    file = BytesIO()
    milliseconds = 1000 // film.fps
    first.save(file, "GIF", save_all=True, append_images=rest, duration=milliseconds, loop=0)
    return file.getvalue()
