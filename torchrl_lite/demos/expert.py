"""Records Meta-World's scripted experts, ``metaworld.policies``, in our environments."""

import warnings

import numpy as np
import torch
from jaxtyping import Float32
from metaworld.policies import ENV_POLICY_MAP
from numpy import ndarray

from torchrl_lite.collector.episode import EpisodeRunner, EpisodeStats
from torchrl_lite.collector.plan import DEMO, EpisodeKey
from torchrl_lite.config import EnvConfig
from torchrl_lite.demos.file import DemoHeader, Demonstrations
from torchrl_lite.env.make import make_task_env, task_horizon
from torchrl_lite.env.metaworld import check_task
from torchrl_lite.errors import UserError
from torchrl_lite.policies.file import TaskEvaluation
from torchrl_lite.types import Block


def record(
    env: EnvConfig, *, episodes: int, seed: int, versions: dict[str, str] | None = None
) -> Demonstrations:
    """``episodes`` episodes of each task, successful or not, up to their time limit; without
    wrappers at most one per goal, since another one would be the same.

    Their goals are spread evenly over those of ``seed``. Actions are clipped to [-1, 1], as
    Meta-World does. The expert sees the goal and Meta-World's own observations also where
    ``env.hide_goal`` or ``env.wrappers`` change what is recorded.

    Raises:
        UserError: there is no expert of a task.
    """
    if env.suite != "metaworld":
        raise UserError('--config: env.suite: experts exist only for the suite "metaworld"')
    for task in env.tasks:
        check_task(task, "--task")
    if not env.wrappers:
        episodes = min(episodes, env.num_goals)
    recorded = [_record(env, task, episodes, seed) for task in range(len(env.tasks))]
    header = DemoHeader(
        source="metaworld.policies",
        env=env,
        seed=seed,
        episodes=[
            TaskEvaluation.of(name, stats)
            for name, (_, stats) in zip(env.tasks, recorded, strict=True)
        ],
        versions=versions or {},
    )
    blocks = (block for block, _ in recorded)
    return Demonstrations(header, dict(zip(env.tasks, blocks, strict=True)))


def _record(
    env: EnvConfig, task: int, episodes: int, seed: int
) -> tuple[Block, list[EpisodeStats]]:
    name = env.tasks[task]
    expert = ENV_POLICY_MAP[name]()
    runner = EpisodeRunner(make_task_env(env, task, seed=seed), task, name)
    plain = env.model_copy(update={"wrappers": [], "hide_goal": False})
    twin = make_task_env(plain, task, seed=seed)  # steps along, for the expert to see
    horizon, (act_dim,) = task_horizon(env, task), runner.env.action_space.shape or ()
    steps: list[tuple[ndarray, ...]] = []
    ended: list[EpisodeStats] = []
    for episode in range(episodes):
        plan = EpisodeKey(seed, DEMO, task, 0, episode).plan(
            horizon=horizon, act_dim=act_dim, num_goals=env.num_goals
        )
        goal = episode * env.num_goals // episodes
        runner.begin(plan._replace(goal=goal))
        seen, _ = twin.reset(options={"goal": goal})
        while runner.plan is not None:
            obs, first = runner.obs, np.array(runner.frame == 0)
            act = _act(expert, seen)
            seen = twin.step(act)[0]
            step, stats = runner.step(act)
            steps.append((obs, act, np.array(step.rew), step.next_obs, np.array(step.cont), first))
            ended += [stats] if stats else []
    runner.env.close()
    twin.close()
    parts = zip(*steps, strict=True)
    return Block(*(torch.from_numpy(np.array(part, np.float32)) for part in parts)), ended


def _act(expert: object, obs: ndarray) -> Float32[ndarray, " A"]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Constant")  # that actions will be clipped
        act = expert.get_action(obs)  # type: ignore[attr-defined]
    return np.clip(act, -1, 1).astype(np.float32)
