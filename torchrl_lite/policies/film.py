"""Films and windows: replays the first episodes of an evaluation in separate environments."""

import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch

from torchrl_lite.collector.episode import EpisodeRunner
from torchrl_lite.collector.inference import exact_inference
from torchrl_lite.collector.plan import EVAL, EpisodeKey
from torchrl_lite.config import EnvConfig
from torchrl_lite.env import rendering
from torchrl_lite.env.failing import RAISED, named
from torchrl_lite.env.make import make_spec, make_task_env, task_horizon
from torchrl_lite.env.rendering import draws, use_headless_backend
from torchrl_lite.env.viewing import View, WindowClosed
from torchrl_lite.errors import UserError
from torchrl_lite.network.actor import Actor
from torchrl_lite.reporting.film import SIZE, Film, titled

FPS = 20
"""Approximate pictures per second of a film; Meta-World simulates 80 steps per second."""


def check_renderer(
    config: EnvConfig,
    *,
    seed: int,
    tasks: Sequence[int] = (0,),
    camera: str | None = None,
    source: str = "log.video",
) -> None:
    """Chooses a headless rendering backend, and renders each of the tasks once.

    Raises:
        UserError: rendering, requested by ``source``, does not work, or there is no such camera.
    """
    chosen = os.environ.get("MUJOCO_GL")
    try:
        if chosen and not draws(chosen):
            raise UserError(f"rendering fails with MUJOCO_GL={chosen}; unset it to try others")
        use_headless_backend()
    except UserError as error:
        if config.suite == "metaworld":
            raise UserError(f"{source}: {error}") from None
        # other environments may not need MuJoCo; the test renderings below decide
    for task in tasks:
        try:
            with warnings.catch_warnings(action="ignore"):
                view = View("rgb_array", camera, SIZE)
                env = make_task_env(config, task, seed=seed, view=view)
                env.reset(seed=seed)
                picture: Any = env.render()
                env.close()
        except UserError:
            raise
        except RAISED as error:
            raise UserError(f"{source}: rendering fails ({_line(error)})") from None
        if picture is None:
            raise UserError(f"{source}: {config.tasks[task]!r} renders no pictures")


def check_window(config: EnvConfig, *, seed: int, tasks: Sequence[int], camera: str | None) -> None:
    """
    Raises:
        UserError: no window can be opened here, or a task has no such camera.
    """
    rendering.check_window()
    for task in tasks if camera else ():
        make_task_env(config, task, seed=seed, view=View("rgb_array", camera)).close()


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


class Replay(NamedTuple):
    """The first evaluation episode of a goal, bit-identical to the evaluation."""

    config: EnvConfig
    policy: Actor
    """On the CPU."""
    task: int
    seed: int
    goal: int = 0

    @property
    def name(self) -> str:
        return self.config.tasks[self.task]

    def env(self, view: View) -> gym.Env:
        with named(self.name):
            return make_task_env(self.config, self.task, seed=self.seed, view=view)

    def play(self, env: gym.Env) -> Iterator[EpisodeRunner]:
        """Steps through the episode and closes ``env``; yields the state at the start and after
        every step."""
        config, task = self.config, self.task
        spec, rows = make_spec(config), torch.zeros(config.group_size, dtype=torch.int64)
        rows[0], act_dim = task, spec.act_dims[task]
        obs = np.zeros((config.group_size, 1, spec.obs_dim), np.float32)
        plan = EpisodeKey(self.seed, EVAL, task, 0, 0).plan(
            horizon=task_horizon(config, task), act_dim=act_dim, num_goals=config.num_goals
        )
        runner = EpisodeRunner(env, task, self.name)
        try:
            runner.begin(plan._replace(goal=self.goal))
            yield runner
            while runner.plan is not None:
                obs[0, 0, : len(runner.obs)] = runner.obs
                with exact_inference(), torch.inference_mode():  # each `Inference` costs memory
                    act = self.policy.act(torch.from_numpy(obs), rows)[0, 0].numpy()
                runner.step(act[:act_dim])
                yield runner
        finally:
            with named(runner.name):
                env.close()


def watch(replay: Replay, *, camera: str | None = None) -> bool:
    """Shows the episode in a window; False if the user closes it."""
    try:
        for _ in replay.play(replay.env(View("human", camera))):
            pass  # each step renders itself
    except WindowClosed:
        return False
    return True


def record(replay: Replay, *, camera: str | None = None, fps: int = FPS, size: int = SIZE) -> Film:
    """Films the episode in real time, with about ``fps`` pictures per second of ``size`` x
    ``size``, in which task and success are written.

    Raises:
        EpisodeError: the environment failed.
    """
    env = replay.env(View("rgb_array", camera, size))
    rate = env.metadata.get("render_fps", fps)
    every = max(1, round(rate / fps))
    pictures: list[Any] = []
    title = replay.name if replay.goal == 0 else f"{replay.name} goal {replay.goal}"
    for state in replay.play(env):
        if state.frame % every == 0 or state.plan is None:  # the end always
            with named(replay.name):
                picture: Any = env.render()
            pictures.append(titled(picture, size, title, success=state.success))
    return Film(pictures, round(rate / every))
