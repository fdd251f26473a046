"""Cameras and windows of environments that MuJoCo draws."""

from typing import Any, NoReturn

import gymnasium as gym
import mujoco
import numpy as np

from torchrl_lite.config import nearest
from torchrl_lite.errors import UserError

HALF_TURN = np.array([0.0, 0.0, 0.0, 1.0])
"""About the line of sight, as a quaternion."""


class WindowClosed(BaseException):
    """The user closed the window. No `Exception`: those of an environment are its failures."""


def choose_camera(env: gym.Env, camera: str, *, task: str) -> None:
    """Draws with a camera of the environment's model, turned the right way up: the corner cameras
    of Meta-World hang upside down.

    Raises:
        UserError: there is no camera of this name.
    """
    renderer: Any = getattr(env.unwrapped, "mujoco_renderer", None)
    if renderer is None:
        raise UserError(f"--camera: {task} has no cameras to choose from")
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
    """Draws with the model's camera that follows the body, where the environment chose none: not
    every version of Gymnasium does, and a runner soon leaves the picture."""
    renderer: Any = getattr(env.unwrapped, "mujoco_renderer", None)
    if renderer is not None and renderer.camera_id < 0:
        model = renderer.model
        renderer.camera_id = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, "track")


def open_window(env: gym.Env) -> None:
    """Opens the window of an environment made with ``render_mode="human"``.

    Gymnasium's own shows no camera but the free one, and brings the process down when it is
    closed: this one shows the environment's, and raises `WindowClosed` where it is drawn next.
    """
    import glfw  # looks for a screen, which only a window needs

    renderer: Any = getattr(env.unwrapped, "mujoco_renderer", None)
    if renderer is None:
        return  # drawn by something else
    viewer = renderer._get_viewer("human")  # `render` would draw what the free camera sees first
    viewer._hide_menu = True  # it lies over the robot; the key H shows it
    if renderer.camera_id >= 0:
        viewer.cam.type = mujoco.mjtCamera.mjCAMERA_FIXED
        viewer.cam.fixedcamid = renderer.camera_id

    def close(*_: object) -> NoReturn:
        raise WindowClosed

    def on_key(window: Any, key: int, *rest: int) -> None:
        if key == glfw.KEY_ESCAPE:
            close()
        viewer._key_callback(window, key, *rest)  # the other keys of its menu

    glfw.set_window_close_callback(viewer.window, close)
    glfw.set_key_callback(viewer.window, on_key)
