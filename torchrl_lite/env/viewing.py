"""Cameras and windows of environments that MuJoCo renders."""

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import gymnasium as gym
import mujoco
import numpy as np

from torchrl_lite.config import nearest
from torchrl_lite.errors import UserError

HALF_TURN = np.array([0.0, 0.0, 0.0, 1.0])
"""A rotation about the line of sight, as a quaternion."""
FRONT = {
    "azimuth": 215.0,
    "elevation": -35.0,
    "distance": 1.55,
    "lookat": np.array([0.0, 0.6, 0.15]),
}
"""A camera that faces Meta-World's robot across its table, from one side: objects face the robot,
and some would hide what happens to them from straight ahead."""


class View(NamedTuple):
    """How an environment is rendered, if it is."""

    render_mode: str | None = None
    """"human" opens a window and renders every step."""
    camera: str | None = None
    """A camera of the MuJoCo model; None: the suite's choice."""
    film_size: int | None = None
    """Render fast, as squares of this many pixels."""


NO_VIEW = View()


class WindowClosed(BaseException):
    """The user closed the window. Not an `Exception`: those of an environment are failures."""


def prepare(env: gym.Env, view: View, *, task: str, default: Callable[[gym.Env], None]) -> None:
    """Set the camera, or without one the ``default``, and the size.

    Raises:
        UserError: unknown camera.
    """
    if view.camera is not None:
        choose_camera(env, view.camera, task=task)
    elif view.render_mode is not None:
        default(env)
    if view.film_size is not None:
        draw_quickly(env, view.film_size)


def _renderer(env: gym.Env) -> Any:
    """MuJoCo's; None where another engine renders."""
    return getattr(env.unwrapped, "mujoco_renderer", None)


def choose_camera(env: gym.Env, camera: str, *, task: str) -> None:
    """Render with a camera of the environment's model, turned the right way up: Meta-World's
    corner cameras are upside down.

    Raises:
        UserError: unknown camera.
    """
    renderer = _renderer(env)
    if renderer is None:
        raise UserError(f"--camera: {task} has no cameras")
    model: mujoco.MjModel = renderer.model
    names = [model.camera(index).name for index in range(model.ncam)]
    if camera not in names:
        raise UserError(
            f"--camera: {task} has no {camera!r}; it has {', '.join(filter(None, names)) or 'none'}"
            f"{nearest(camera, names)}"
        )
    index = renderer.camera_id = names.index(camera)
    if model.cam_mat0[index].reshape(3, 3)[2, 1] < -0.1:  # its upper edge points down
        mujoco.mju_mulQuat(model.cam_quat[index], model.cam_quat[index].copy(), HALF_TURN)


def follow(env: gym.Env) -> None:
    """Render with the model's tracking camera if the environment did not choose one: not every
    version of Gymnasium does, and a running robot soon leaves the frame."""
    renderer = _renderer(env)
    if renderer is not None and renderer.camera_id < 0:
        model = renderer.model
        renderer.camera_id = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, "track")


def view_from_front(env: gym.Env) -> None:
    """Render Meta-World from in front of the robot; its own default is from behind."""
    _renderer(env).default_cam_config = FRONT


def draw_quickly(env: gym.Env, size: int) -> None:
    """Render squares of ``size`` pixels without shadows, reflections and antialiasing, which take
    seven eighths of the time where there is no GPU. Call it before the first rendering."""
    renderer = _renderer(env)
    if renderer is None:
        return
    renderer.width = renderer.height = size
    model: mujoco.MjModel = renderer.model
    model.vis.global_.offwidth = model.vis.global_.offheight = size
    model.vis.quality.offsamples = 0
    model.light_castshadow[:] = 0
    model.mat_reflectance[:] = 0


def open_window(env: gym.Env) -> None:
    """Open the window of an environment created with ``render_mode="human"``.

    Gymnasium's window only shows the free camera, and closing it ends the process. This one shows
    the environment's camera, and after it is closed the next rendering raises `WindowClosed`.
    """
    import glfw  # imported only here, since it needs a screen

    renderer = _renderer(env)
    if renderer is None:
        return
    viewer = renderer._get_viewer("human")  # `render` would first show the free camera
    viewer._hide_menu = True  # it covers the robot; the key H shows it
    if renderer.camera_id >= 0:
        viewer.cam.type = mujoco.mjtCamera.mjCAMERA_FIXED
        viewer.cam.fixedcamid = renderer.camera_id

    def close(*_: object) -> NoReturn:
        raise WindowClosed

    def on_key(window: Any, key: int, *rest: int) -> None:
        if key == glfw.KEY_ESCAPE:
            close()
        viewer._key_callback(window, key, *rest)  # the other keys of the menu

    glfw.set_window_close_callback(viewer.window, close)
    glfw.set_key_callback(viewer.window, on_key)
