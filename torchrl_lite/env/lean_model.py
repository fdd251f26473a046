"""Meta-World's simulator models without their visual parts.

Visual geoms, their meshes, textures, cameras and lights cost memory (most of the 25 MB of an
environment), construction time and a few microseconds per step. The physics is bit-identical:
masses are given per body, so geoms that collide with nothing have no effect.
"""

import copy
from functools import cache
from typing import Any

import mujoco
from metaworld.sawyer_xyz_env import SawyerXYZEnv


@cache
def lean_model(path: str) -> mujoco.MjModel:
    """The model of an XML file; named geoms are kept, since the task may look them up.

    Tasks move the bodies of their model, so each environment needs its own copy. A copy takes a
    fiftieth of the time that compiling does.
    """
    spec = mujoco.MjSpec.from_file(path)
    for geom in list(spec.geoms):
        if not geom.name and geom.contype == 0 and geom.conaffinity == 0:
            geom.delete()
    used = {geom.meshname for geom in spec.geoms}
    for mesh in list(spec.meshes):
        if mesh.name not in used:
            mesh.delete()
    for part in (*spec.geoms, *spec.sites):
        part.material = ""
    for part in (*spec.materials, *spec.textures, *spec.cameras, *spec.lights):
        part.delete()
    model = spec.compile()
    model.vis.global_.bvactive = 0  # bounding volumes for rendering, cleared in every substep
    return model


@cache
def lean(stock: Any) -> type[SawyerXYZEnv]:
    """A task's class with a model that cannot be rendered."""

    def initialize(self: Any) -> tuple[mujoco.MjModel, mujoco.MjData]:
        model = copy.copy(lean_model(self.fullpath))
        return model, mujoco.MjData(model)

    return type(stock.__name__, (stock,), {"_initialize_simulation": initialize})
