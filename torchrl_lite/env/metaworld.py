"""Meta-World v3 with the official multi-task protocol.

50 goals per task from a seed, the goal in the observation, episodes of 500 steps without
termination, and success in each step's ``info``. See Yu et al. 2019 (arXiv:1910.10897) and
McLean et al. 2025 (Meta-World+, arXiv:2505.11289).
"""

import re
from typing import Any, SupportsFloat

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
from torchrl_lite.env.viewing import choose_camera, draw_quickly, open_window, view_from_front
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


class MetaWorldEnv(gym.Env):
    """One task with its goals.

    ``reset(seed=s)`` samples one of ``num_goals`` goals with seed ``s``; ``reset(seed=s,
    options={"goal": j})`` selects goal ``j``, with a ValueError if it does not exist; those in
    `HELD_OUT` are only ever selected. Either way the episode is a pure function of the goal and the
    actions. ``hide_goal`` sets the observation's last three entries to 0. The reward is dense, or
    1 where a step succeeds and else 0 (``reward="sparse"``). ``fast`` uses the bit-identical
    `FastSawyer` unless rendering. Pictures are from in front of the robot unless a ``camera`` of
    the model is chosen; ``film_size`` draws them quickly, as squares of so many pixels.
    ``render_mode="human"`` opens a window and renders every step.

    Raises:
        UserError: unknown task or camera.
    """

    def __init__(
        self,
        task: str,
        *,
        seed: int = 1,
        horizon: int | None = None,
        render_mode: str | None = None,
        num_goals: int = 50,
        reward_version: str = "v2",
        reward: str = "dense",
        hide_goal: bool = False,
        fast: bool = True,
        camera: str | None = None,
        film_size: int | None = None,
    ) -> None:
        self.task = check_task(task)
        self._seed, self._num_goals, self._hidden = seed, num_goals, hide_goal
        self._sparse = reward == "sparse"
        stock, first = ALL_V3_ENVIRONMENTS[task], self._goal(0)
        self._env: Any
        if fast and render_mode is None:
            self._env = FastSawyer(stock, first, reward_function_version=reward_version)
        else:
            self._env = stock(render_mode=render_mode, reward_function_version=reward_version)
            self._env.set_task(first)  # makes the goal visible, or hides it
            if camera is not None:
                choose_camera(self._env, camera, task=task)
            elif render_mode is not None:
                view_from_front(self._env)
            if film_size is not None:
                draw_quickly(self._env, film_size)
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
            goal = int(self.np_random.integers(self._num_goals))
        self._env.set_task(self._goal(goal))
        return self._env.reset()[0], {"goal": goal, "task": self.task}

    def _goal(self, index: int) -> Task:
        if index in range(self._num_goals):
            return goals(self.task, self._seed, hidden=self._hidden)[index]
        if index not in HELD_OUT:
            raise ValueError(f"goal {index} is not an index of the {self._num_goals} goals")
        others = goals(self.task, self._seed + 1, hidden=self._hidden)  # as ``metaworld.ML1`` does
        return others[index - HELD_OUT.start]

    def step(
        self, action: Float[ndarray, " A"]
    ) -> tuple[Float[ndarray, " O"], SupportsFloat, bool, bool, dict[str, Any]]:
        obs, reward, _, truncated, info = self._env.step(action)
        if self.render_mode == "human":  # as Gymnasium's environments do
            self.render()
        info["success"], info["task"] = float(info["success"]), self.task
        rew = info["success"] if self._sparse else float(reward)
        return obs, rew, False, truncated, info

    def render(self) -> Any:
        return self._env.render() if self.render_mode else None

    def close(self) -> None:
        self._env.close()


make = MetaWorldEnv


def options(config: EnvConfig) -> dict[str, Any]:
    """The fields of a configuration that are for this suite."""
    return {
        "num_goals": config.num_goals,
        "reward_version": config.reward_version,
        "reward": config.reward,
        "hide_goal": config.hide_goal,
        "fast": config.fast,
    }


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
