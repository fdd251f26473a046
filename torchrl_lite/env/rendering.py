"""What draws here: MuJoCo without a screen, or a window."""

import os
import re
import subprocess
import sys

from torchrl_lite.errors import UserError

BACKENDS = {"egl": "libegl1", "osmesa": "libosmesa6"}
"""MuJoCo's ways to draw without a screen, best first, and the system package that each needs."""

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
        UserError: none draws; names the packages that would help.
    """
    if os.environ.get("MUJOCO_GL"):
        return
    for backend in BACKENDS:
        if draws(backend):
            os.environ["MUJOCO_GL"] = backend
            return
    packages = " or ".join(BACKENDS.values())
    raise UserError(f"nothing draws without a screen here: install the system package {packages}")


def draws(backend: str) -> bool:
    """Whether MuJoCo draws with it: tried in a process of its own, as a choice is for good."""
    return "drawn" in _trial(_TRIAL, MUJOCO_GL=backend).stdout


def check_window() -> None:
    """
    Raises:
        UserError: no window with OpenGL opens here: tried in a process of its own, which that
            may bring down.
    """
    trial = _trial(_WINDOW_TRIAL)
    if "drawn" not in trial.stdout:
        cause = re.search(r"GLFWError: \(\d+\) b?'(.*)'", trial.stderr)
        raise UserError(
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
