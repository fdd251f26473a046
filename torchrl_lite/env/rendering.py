"""Rendering on this machine: MuJoCo without a screen, or in a window."""

import os
import re
import subprocess
import sys

from torchrl_lite.errors import UserError, first_line

BACKENDS = {"egl": "libegl1", "osmesa": "libosmesa6"}
"""MuJoCo's headless rendering backends, best first, and the system package that each needs."""

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


def check_backend() -> None:
    """MuJoCo takes the backend in ``MUJOCO_GL`` when it is imported, whether or not it renders.

    Raises:
        UserError: the one that is set does not work.
    """
    chosen = os.environ.get("MUJOCO_GL")
    if chosen:
        try:
            import mujoco  # noqa: F401
        except (ImportError, AttributeError, RuntimeError) as error:
            raise UserError(
                f"MUJOCO_GL={chosen} does not work here ({first_line(error)}); unset it"
            ) from None


def use_headless_backend() -> None:
    """Set ``MUJOCO_GL`` to the first backend that renders here, unless it is already set.

    Call it before any environment is rendered.

    Raises:
        UserError: no backend renders; the message names the packages to install.
    """
    if os.environ.get("MUJOCO_GL"):
        return
    for backend in BACKENDS:
        if draws(backend):
            os.environ["MUJOCO_GL"] = backend
            return
    packages = " or ".join(BACKENDS.values())
    raise UserError(f"rendering without a screen needs the system package {packages}")


def draws(backend: str) -> bool:
    """Whether MuJoCo renders with this backend; tried in a subprocess, as it is final."""
    return "drawn" in _trial(_TRIAL, MUJOCO_GL=backend).stdout


def check_window() -> None:
    """
    Raises:
        UserError: no window with OpenGL opens here; tried in a subprocess, which may crash.
    """
    trial = _trial(_WINDOW_TRIAL)
    if "drawn" not in trial.stdout:
        cause = re.search(r"GLFWError: \(\d+\) b?'(.*)'", trial.stderr)
        raise UserError(
            f"--render: cannot open a window ({cause[1].strip() if cause else 'no screen'}); "
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
