"""Meta-World v3 with the protocol of its multi-task benchmarks.

50 goals per task from a seed (`goals`), the goal in the observation, episodes of 500 steps without
termination, and success in each step's ``info``. See Yu et al. 2019 (arXiv:1910.10897) and
McLean et al. 2025 (Meta-World+, arXiv:2505.11289).
"""

import re
from typing import Any, NamedTuple, SupportsFloat

import gymnasium as gym
import metaworld
from gymnasium.envs.registration import EnvSpec
from jaxtyping import Float
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.types import Task
from numpy import ndarray

from torchrl_lite.config import EnvConfig, nearest
from torchrl_lite.env.fast_sawyer import FastSawyer
from torchrl_lite.env.goals import HELD_OUT, goals
from torchrl_lite.env.viewing import NO_VIEW, View, open_window, prepare, view_from_front
from torchrl_lite.errors import UserError

OBS_DIM, ACT_DIM = 39, 4
"""Sizes of every task's observation and action."""
HORIZON = 500
"""Steps per episode in the protocol."""
TASKS: tuple[str, ...] = tuple(ALL_V3_ENVIRONMENTS)
MT10: tuple[str, ...] = tuple(metaworld.env_dict.MT10_V3)
"""The ten tasks in the order of MT10: ``--task_id`` indexes this."""

# Earlier versions named two tasks differently.
_OLD_NAMES = {"door": "door-open", "peg-insertion-side": "peg-insert-side"}


def check_task(name: str, source: str = "task") -> str:
    """Return the name if it is one of the 50 v3 tasks; ``source`` says where it was given.

    Raises:
        UserError: it is not; the message suggests the nearest one.
    """
    if name in TASKS:
        return name
    stem = re.sub(r"-v\d+$", "", name)
    current = f"{_OLD_NAMES.get(stem, stem)}-v3"
    hint = f"; use {current!r}" if current in TASKS else nearest(name, TASKS)
    hint = hint or f"; the tasks of MT10: {ten()}"
    raise UserError(f"{source}: {name!r} is not a Meta-World v3 task{hint}")


def ten() -> str:
    """The tasks of MT10 with their ids, for messages."""
    return ", ".join(f"{index} {name}" for index, name in enumerate(MT10))


class Rules(NamedTuple):
    """What differs from the protocol."""

    num_goals: int = 50
    reward_version: str = "v2"
    reward: str = "dense"
    """"sparse": 1 where a step succeeds, else 0."""
    hide_goal: bool = False
    """Set the observation's last three entries to 0."""
    fast: bool = True
    """Use the bit-identical `FastSawyer` unless rendering."""


class MetaWorldEnv(gym.Env):
    """One task with its goals.

    ``reset(seed=s)`` samples one of ``num_goals`` goals with seed ``s``; ``reset(seed=s,
    options={"goal": j})`` selects goal ``j``, with a ValueError if it does not exist; those in
    `HELD_OUT` are never sampled, only selected. Either way the episode is a pure function of the
    goal and the actions. The default camera faces the robot.

    Raises:
        UserError: unknown task or camera.
    """

    def __init__(
        self,
        task: str,
        *,
        seed: int = 1,
        horizon: int | None = None,
        view: View = NO_VIEW,
        **rules: Any,
    ) -> None:
        """``rules``: fields of `Rules`."""
        self.task = check_task(task)
        self._seed, self._rules = seed, Rules(**rules)
        stock, first = ALL_V3_ENVIRONMENTS[task], self._goal(0)
        render_mode, version = view.render_mode, self._rules.reward_version
        self._env: Any
        if self._rules.fast and render_mode is None:
            self._env = FastSawyer(stock, first, reward_function_version=version)
        else:
            self._env = stock(render_mode=render_mode, reward_function_version=version)
            self._env.set_task(first)  # makes the goal visible, or hides it
            prepare(self._env, view, task=task, default=view_from_front)
            if render_mode == "human":
                open_window(self._env)
        self._env.max_path_length = horizon or HORIZON
        self.spec = EnvSpec(id=task, max_episode_steps=horizon or HORIZON)
        self.render_mode, self.metadata = render_mode, stock.metadata
        self.observation_space = self._env.sawyer_observation_space
        self.action_space = self._env.action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float[ndarray, " O"], dict[str, Any]]:
        super().reset(seed=seed)
        goal = (options or {}).get("goal")
        if goal is None:
            goal = int(self.np_random.integers(self._rules.num_goals))
        self._env.set_task(self._goal(goal))
        return self._env.reset()[0], {"goal": goal, "task": self.task}

    def _goal(self, index: int) -> Task:
        hidden, count = self._rules.hide_goal, self._rules.num_goals
        if index in range(count):
            return goals(self.task, self._seed, hidden=hidden)[index]
        if index not in HELD_OUT:
            raise ValueError(f"goal {index} is not an index of the {count} goals")
        others = goals(self.task, self._seed + 1, hidden=hidden)  # as ``metaworld.ML1`` does
        return others[index - HELD_OUT.start]

    def step(
        self, action: Float[ndarray, " A"]
    ) -> tuple[Float[ndarray, " O"], SupportsFloat, bool, bool, dict[str, Any]]:
        obs, reward, _, truncated, info = self._env.step(action)
        if self.render_mode == "human":  # as Gymnasium's environments do
            self.render()
        info["success"], info["task"] = float(info["success"]), self.task
        rew = info["success"] if self._rules.reward == "sparse" else float(reward)
        return obs, rew, False, truncated, info

    def render(self) -> Any:
        return self._env.render() if self.render_mode else None

    def close(self) -> None:
        self._env.close()


make = MetaWorldEnv


def options(config: EnvConfig) -> dict[str, Any]:
    """The fields of a configuration that are for this suite."""
    return {name: getattr(config, name) for name in Rules._fields}


def shape(task: str, _config: EnvConfig) -> tuple[int, int]:
    """Sizes of the observation and the action.

    Raises:
        UserError: unknown task.
    """
    check_task(task, "env.tasks")
    return OBS_DIM, ACT_DIM


def horizon(_task: str, _config: EnvConfig) -> int:
    """The protocol's time limit, in steps."""
    return HORIZON
