"""The environments of a process, the plans of their episodes, and the policy that acts."""

from collections.abc import Sequence
from contextlib import ExitStack

import gymnasium as gym
import torch
from jaxtyping import Int

from torchrl_lite.collector.episode import EpisodeRunner
from torchrl_lite.collector.guard import GuardedEnv, Watchdog
from torchrl_lite.collector.inference import Inference
from torchrl_lite.collector.plan import TRAIN, EpisodeKey, EpisodePlan
from torchrl_lite.collector.setup import RolloutSetup, Site, site_name
from torchrl_lite.env.failing import named
from torchrl_lite.env.make import make_task_env, task_horizon


class Environments:
    """What training and evaluation in one process share."""

    def __init__(self, setup: RolloutSetup, watchdog: Watchdog) -> None:
        config = setup.config
        self._setup, self._watchdog = setup, watchdog
        self._infer = Inference(setup.policy, setup.spec, config.group_size)
        self._made: list[EpisodeRunner] = []
        self.act_dims = setup.spec.act_dims
        self.horizons = [task_horizon(config, task) for task in range(len(config.tasks))]

    def runner(self, site: Site) -> EpisodeRunner:
        """
        Raises:
            EpisodeError: the environment could not be made.
        """
        setup = self._setup
        name = site_name(setup.config, site)
        with self._watchdog.watching(name), named(name):
            env: gym.Env = make_task_env(setup.config, site.task, seed=setup.seed)
            act_dim = self.act_dims[site.task]
            if env.action_space.shape != (act_dim,):
                raise ValueError(f"actions have shape {env.action_space.shape}, not ({act_dim},)")
        shape = (setup.spec.obs_dims[site.task],)
        env = GuardedEnv(env, name, shape=shape, watchdog=self._watchdog)
        self._made.append(EpisodeRunner(env, site.task, name, info=setup.info))
        return self._made[-1]

    def plan(self, purpose: int, site: Site, episode: int) -> EpisodePlan:
        config = self._setup.config
        key = EpisodeKey(self._setup.seed, purpose, site.task, site.copy, episode)
        return key.plan(
            horizon=self.horizons[site.task],
            act_dim=self.act_dims[site.task],
            num_goals=config.num_goals,
            noise_repeat=config.noise_repeat,
            noise_scale=config.noise_scale(site.copy) if purpose == TRAIN else 1.0,
        )

    def policy(self, group: Sequence[Site]) -> tuple[Inference, Int[torch.Tensor, " k"]]:
        """The policy with cleared inputs, and the task of each of its rows."""
        rows = torch.zeros(self._setup.config.group_size, dtype=torch.int64)
        tasks = [site.task for site in group]
        rows[: len(tasks)] = torch.tensor(tasks)
        return self._infer.clear(), rows

    def close(self) -> None:
        """
        Raises:
            EpisodeError: an environment could not be closed; the others were.
        """
        self._watchdog.close()
        with ExitStack() as stack:
            for runner in self._made:
                stack.callback(_close, runner)


def _close(runner: EpisodeRunner) -> None:
    with named(runner.name):
        runner.env.close()
