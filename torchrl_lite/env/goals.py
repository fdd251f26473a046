"""The goals of ``metaworld.MT1``, sampled without the simulated resets of stock Meta-World.

A task has the same goals in every set. ``metaworld.MT10(seed)`` draws those of all its tasks from
one stream, so that only its first task has the goals of ``MT1``.
"""

import pickle
from functools import cache, lru_cache
from types import SimpleNamespace
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Float
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.sawyer_xyz_env import SawyerXYZEnv
from metaworld.types import Task
from numpy import ndarray

from torchrl_lite.env.lean_model import lean
from torchrl_lite.env.rebinding import rebind

NUM_GOALS = 50
"""Goals per task."""


def _nothing(*_args: Any, **_kwargs: Any) -> None:
    pass


def _draw(self: Any) -> Float[ndarray, " G"]:
    space = self._random_reset_space
    self._last_rand_vec = self.generator.uniform(space.low, space.high, size=space.low.size)
    return self._last_rand_vec


@cache
def _still(stock: Any) -> type[SawyerXYZEnv]:
    """A task's class whose resets only sample goals and simulate nothing."""
    still = SimpleNamespace(**vars(mujoco) | {"mj_forward": _nothing, "mj_step": _nothing})
    no_physics = stock.reset_model.__globals__ | {"mujoco": still}
    members = {
        "reset_model": rebind(stock.reset_model, no_physics),
        "set_state": _nothing,
        "do_simulation": _nothing,
        "_get_obs": _nothing,
        "_get_state_rand_vec": _draw,
    }
    return type(stock.__name__, (lean(stock),), members)


HELD_OUT = range(NUM_GOALS, 2 * NUM_GOALS)
"""Numbers of the goals that are never trained on, the test goals of ``metaworld.ML1``."""


@lru_cache(maxsize=128)
def goals(task: str, seed: int, *, hidden: bool = False) -> tuple[Task, ...]:
    """The 50 goals of ``metaworld.MT1(task, seed=seed)``, bit-identical; if ``hidden``, not
    visible in observations, as the training goals of ``metaworld.ML1``."""
    stock = ALL_V3_ENVIRONMENTS[task]
    return tuple(
        Task(
            env_name=task,
            data=pickle.dumps(
                {"rand_vec": rand_vec, "env_cls": stock, "partially_observable": hidden}
            ),
        )
        for rand_vec in _drawn(task, seed)
    )


@lru_cache(maxsize=128)
def _drawn(task: str, seed: int) -> tuple[Float[ndarray, " G"], ...]:
    """Meta-World seeds numpy's global generator and resets an environment 50 times; each reset
    samples twice. Here the samples come from a separate generator."""
    stock: Any = ALL_V3_ENVIRONMENTS[task]
    env: Any = _still(stock)()
    env.generator = np.random.RandomState(seed)
    drawn = []
    for _ in range(NUM_GOALS):
        env.reset_model()
        env.reset_model()
        drawn.append(env._last_rand_vec)
    env.close()
    return tuple(drawn)
