"""Meta-World v3's environment, several times as fast and bit-identical.

The physics is still MuJoCo's; the savings are in the Python around it. Meta-World's own methods
run, not copies of them: `_rebound` binds the same code to a private copy of its module's globals,
with scalar versions of numpy, scipy's rotations and the reward helpers (`scalar_math`). The
installed package and stock environments in the same process are not affected. Named MuJoCo parts
are looked up once. The result of a reset, which stock simulates for hundreds of steps, is cached
per goal. The model has nothing to render (`lean_model`).
"""

import sys
from collections.abc import Callable
from functools import cache
from math import inf
from types import FunctionType
from typing import Any, NamedTuple, SupportsFloat

import mujoco
import numpy as np
from jaxtyping import Float
from metaworld.sawyer_xyz_env import SawyerXYZEnv
from metaworld.types import Task
from metaworld.utils import reward_utils
from numpy import ndarray
from numpy._core.umath import clip  # type: ignore[attr-defined]  # np.clip without its overhead

from torchrl_lite.env import scalar_math
from torchrl_lite.env.lean_model import lean
from torchrl_lite.env.rebinding import rebind

_FAST = {
    "np": scalar_math.numpy,
    "Rotation": scalar_math.Quaternion,
    "reward_utils": scalar_math.rewards,
    "tolerance": scalar_math.tolerance,
}
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
_GRIPPER_DOWN = np.array([1.0, 0.0, 1.0, 0.0])


def _rebound(cls: type, names: dict[str, Any]) -> dict[str, Any]:
    """A class's constants, and its methods with ``names`` as globals."""
    members: dict[str, Any] = {}
    for name, value in vars(cls).items():
        if name.startswith("__"):
            continue
        if isinstance(value, FunctionType):
            value = rebind(value, names)
        elif isinstance(value, staticmethod):
            value = staticmethod(rebind(value.__func__, names))
        elif isinstance(value, property):
            value = property(rebind(value.fget, names))
        members[name] = value
    return members


def _fast_globals(cls: type) -> dict[str, Any]:
    """A copy of the globals of a class's module, with fast versions substituted."""
    module = vars(sys.modules[cls.__module__])
    return module | {name: value for name, value in _FAST.items() if name in module}


class _Part:
    """A named body, geom, site or joint; its arrays are views that stay valid."""

    def __init__(self, accessor: Any) -> None:
        self._accessor = accessor

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._accessor, name)
        setattr(self, name, value)
        return value


class _Parts(dict[str, _Part]):
    def __init__(self, lookup: Callable[[str], Any]) -> None:
        super().__init__()
        self._lookup = lookup

    def __missing__(self, name: str) -> _Part:
        part = self[name] = _Part(self._lookup(name))
        return part


class _Data:
    """The part of an ``MjData`` that Meta-World's observations and rewards read."""

    def __init__(self, data: mujoco.MjData) -> None:
        self.real = data
        self.bodies = _Parts(data.body)
        self.body = self.bodies.__getitem__
        self.geom = _Parts(data.geom).__getitem__
        self.site = _Parts(data.site).__getitem__
        self.joint = _Parts(data.joint).__getitem__


def _long_tail(x: Any, bounds: tuple[Any, Any], margin: Any) -> Any:
    return scalar_math.tolerance(x, bounds, margin, "long_tail")


class _Steps:
    """Faster versions of the `SawyerXYZEnv` methods that a step calls."""

    data: _Data
    obj_init_pos: ndarray
    init_tcp: ndarray

    def get_body_com(self, body_name: str) -> ndarray:
        return self.data.bodies[body_name].xpos

    @property
    def tcp_center(self) -> ndarray:
        site = self.data.site
        return (site("rightEndEffector").xpos + site("leftEndEffector").xpos) / 2.0

    def touching_object(self, object_geom_id: int) -> bool:
        """Whether both fingers press on the object."""
        real = self.data.real
        if real.ncon == 0:
            return False
        pairs, addresses = real.contact.geom.tolist(), real.contact.efc_address
        for pad in ("leftpad_geom", "rightpad_geom"):
            pad_id = self.data.geom(pad).id
            force = sum(
                real.efc_force[addresses[index]]
                for index, pair in enumerate(pairs)
                if pad_id in pair and object_geom_id in pair
            )
            if not force > 0:
                return False
        return True

    def _gripper_caging_reward(
        self,
        action: ndarray,
        obj_pos: ndarray,
        obj_radius: float,
        pad_success_thresh: float,
        object_reach_radius: float,
        xz_thresh: float,
        desired_gripper_effort: float = 1.0,
        high_density: bool = False,
        medium_density: bool = False,
    ) -> Any:
        """The grasping term that v2's rewards share: how well the fingers enclose the object.

        The Hamacher product of the terms of both fingers in y and of the distance in x and z.
        """
        product = reward_utils.hamacher_product
        sides = []
        for pad in ("leftpad", "rightpad"):
            y = self.data.bodies[pad].xpos[1]
            margin = abs(abs(y - self.obj_init_pos[1]) - pad_success_thresh)
            bounds = obj_radius, pad_success_thresh
            sides.append(_long_tail(abs(y - obj_pos[1]), bounds, margin))
        margin = scalar_math.norm(self.obj_init_pos[::2] - self.init_tcp[::2]) - xz_thresh
        distance = scalar_math.norm(self.tcp_center[::2] - obj_pos[::2])
        caging = product(product(*sides), float(_long_tail(distance, (0, xz_thresh), margin)))
        closed = min(max(0, action[-1]), desired_gripper_effort) / desired_gripper_effort
        gripping = product(caging, closed if caging > 0.97 else 0.0)
        if high_density:
            gripping = (gripping + caging) / 2
        if medium_density:
            distance = scalar_math.norm(obj_pos - self.tcp_center)
            initial = scalar_math.norm(self.obj_init_pos - self.init_tcp)
            margin = abs(initial - object_reach_radius)
            reach = _long_tail(distance, (0, object_reach_radius), margin)
            gripping = (gripping + float(reach)) / 2
        return gripping


@cache
def _steps_class(stock: Any) -> Any:
    """The part of a task's class that a step uses; shares nothing with stock Meta-World."""
    names = _fast_globals(stock)
    base = _rebound(SawyerXYZEnv, _fast_globals(SawyerXYZEnv))
    own = {name: value for name, value in vars(_Steps).items() if not name.startswith("__")}
    steps = type(stock.__name__, (), base | own | _rebound(stock, names))
    names[stock.__name__] = steps  # tasks call static methods by the class name
    return steps


class _Snapshot(NamedTuple):
    """The complete state after a reset, which is a function of the goal."""

    obs: Float[ndarray, " O"]
    state: Float[ndarray, " S"]
    body_pos: Float[ndarray, "bodies 3"]
    site_pos: Float[ndarray, "sites 3"]
    attributes: dict[str, Any]


class FastSawyer:
    """A Meta-World task with the interface of a stock `SawyerXYZEnv`.

    ``task`` is any task of the class; all of its tasks hide their goal, or none does. This class
    cannot render; use a stock environment.

    Raises:
        ValueError: a reset to a task that hides its goal unlike the first one, or a step without a
            previous reset.
    """

    def __init__(
        self, stock_class: Any, task: Task, *, reward_function_version: str = "v2"
    ) -> None:
        stock: Any = lean(stock_class)(reward_function_version=reward_function_version)
        stock.set_task(task)
        self._stock, self._task = stock, task
        self._hidden = stock._partially_observable
        self.max_path_length = stock.max_path_length
        self.sawyer_observation_space = stock.sawyer_observation_space
        self.action_space = stock.action_space
        self._model, self._real = stock.model, stock.data
        self._steps: Any = object.__new__(_steps_class(stock_class))
        self._steps.__dict__ = {"curr_path_length": inf}  # no running episode
        self._data = _Data(stock.data)
        self._hand = self._data.body("hand").xpos
        self._claws = self._data.body("rightclaw").xpos, self._data.body("leftclaw").xpos
        self._mocap, self._mocap_quat = stock.data.mocap_pos[0], stock.data.mocap_quat[0]
        self._ctrl = stock.data.ctrl
        space = self.sawyer_observation_space
        self._low, self._high = space.low, space.high
        self._snapshots: dict[bytes, _Snapshot] = {}

    def set_task(self, task: Task) -> None:
        self._task = task

    def reset(self) -> tuple[Float[ndarray, " O"], dict[str, Any]]:
        snapshot = self._snapshots.get(self._task.data)
        if snapshot is None:
            snapshot = self._snapshots[self._task.data] = self._simulate_reset()
        mujoco.mj_setState(self._model, self._real, snapshot.state, _STATE)
        self._model.body_pos[:] = snapshot.body_pos
        self._model.site_pos[:] = snapshot.site_pos
        self._steps.__dict__ = snapshot.attributes | {"data": self._data}
        return snapshot.obs.copy(), {}

    def _simulate_reset(self) -> _Snapshot:
        self._stock.set_task(self._task)
        if self._stock._partially_observable != self._hidden:
            raise ValueError(
                f"{self._task.env_name}: hides its goal, or shows it, unlike the first"
            )
        obs, _ = self._stock.reset()
        state = np.empty(mujoco.mj_stateSize(self._model, _STATE))
        mujoco.mj_getState(self._model, self._real, state, _STATE)
        positions = self._model.body_pos.copy(), self._model.site_pos.copy()
        return _Snapshot(obs, state, *positions, dict(vars(self._stock)))

    def step(
        self, action: Float[ndarray, " A"]
    ) -> tuple[Float[ndarray, " O"], SupportsFloat, bool, bool, dict[str, Any]]:
        steps = self._steps
        if len(action) != 4:
            raise ValueError(f"Actions should be size 4, got {len(action)}")
        if steps.curr_path_length >= self.max_path_length:
            raise ValueError("no episode is running; call reset first")
        steps.curr_path_length += 1
        self._simulate(action)
        obs = self._observe()
        reward, info = steps.evaluate_state(obs, action)
        return obs, reward, False, steps.curr_path_length == self.max_path_length, info

    def _simulate(self, action: Float[ndarray, " A"]) -> None:
        steps, mocap = self._steps, self._mocap
        mocap += clip(action[:3], -1, 1) * steps.action_scale
        clip(mocap, steps.mocap_low, steps.mocap_high, out=mocap)
        self._mocap_quat[:] = _GRIPPER_DOWN
        effort = float(action[3])
        self._ctrl[0], self._ctrl[1] = effort, -effort
        mujoco.mj_step(self._model, self._real, steps.frame_skip)
        mujoco.mj_forward(self._model, self._real)

    def _observe(self) -> Float[ndarray, " O"]:
        """Hand, gripper, objects; the same from the previous step; the goal, or zeros if hidden.
        Clipped to bounds."""
        steps = self._steps
        right, left = self._claws
        obs = np.zeros(39)
        obs[:3] = self._hand
        obs[3] = min(max(scalar_math.norm(right - left) / 0.1, 0.0), 1.0)
        positions, quaternions = steps._get_pos_objects(), steps._get_quat_objects()
        for index in range(len(positions) // 3):
            start = 4 + 7 * index
            obs[start : start + 3] = positions[3 * index : 3 * index + 3]
            obs[start + 3 : start + 7] = quaternions[4 * index : 4 * index + 4]
        obs[18:36] = steps._prev_obs
        steps._prev_obs = obs[:18].copy()
        if not self._hidden:
            obs[36:] = steps._target_pos
        return clip(obs, self._low, self._high, out=obs)

    def close(self) -> None:
        self._stock.close()
