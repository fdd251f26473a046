"""Steps groups of environments with a frozen policy, in the main process or in a worker."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray

from torchrl_lite.collector.episode import (
    EVAL,
    TRAIN,
    EpisodeKey,
    EpisodePlan,
    EpisodeRunner,
    EpisodeStats,
    Transition,
)
from torchrl_lite.collector.failure import named
from torchrl_lite.collector.guard import GuardedEnv, Watchdog
from torchrl_lite.collector.inference import Inference, exact_inference
from torchrl_lite.config import EnvConfig
from torchrl_lite.env.make import make_task_env, task_horizon
from torchrl_lite.network.actor import Actor
from torchrl_lite.types import Block, Spec


class Site(NamedTuple):
    """Position of an environment in a Block: copy ``copy`` of task ``task``."""

    task: int
    copy: int


def site_name(config: EnvConfig, site: Site) -> str:
    """Name of an environment in messages."""
    return f"{config.tasks[site.task]} (copy {site.copy})"


def groups(sites: Sequence[Site], size: int) -> list[list[Site]]:
    """Sites whose actions are computed in one batch. The split does not depend on the number of
    workers, because the exact bits of a result depend on the batch size."""
    return [list(sites[start : start + size]) for start in range(0, len(sites), size)]


def training_sites(config: EnvConfig) -> list[Site]:
    return [Site(task, copy) for copy in range(config.copies) for task in range(len(config.tasks))]


def eval_sites(tasks: Sequence[int], episodes: int) -> list[Site]:
    """Sites of the evaluation: ``copy`` is the episode. Tasks vary fastest, so that a group needs
    few environments of one task."""
    return [Site(task, copy) for copy in range(episodes) for task in tasks]


def _as_row(
    obs: Float32[ndarray, " O"], act: Float32[ndarray, " A"], step: Transition
) -> Float32[ndarray, " D"]:
    """A single transition in the replay buffer's layout."""
    next_obs = np.zeros_like(obs)
    next_obs[: len(step.next_obs)] = step.next_obs
    return np.concatenate((obs, act, next_obs, np.array((step.rew, step.cont, 1), np.float32)))


def _close(runner: EpisodeRunner) -> None:
    with named(runner.name):
        runner.env.close()


class Rollout:
    """The environments of some groups and their current episodes."""

    SAMPLE = 50
    """Transitions that an evaluation keeps of a full-length episode, evenly spaced."""

    def __init__(
        self,
        config: EnvConfig,
        spec: Spec,
        policy: Actor,
        *,
        seed: int,
        groups: Sequence[Sequence[Site]],
        watchdog: Watchdog,
        info: Sequence[str] = (),
    ) -> None:
        """``info``: numbers in ``info`` that the statistics of episodes report."""
        self._watchdog, self._info = watchdog, info
        self._config, self._spec, self._seed = config, spec, seed
        self._groups = [list(group) for group in groups]
        self._infer = Inference(policy, spec, config.group_size)
        self._obs_dims, self._act_dims = spec.obs_dims, spec.act_dims
        self._runners = {site: self._runner(site) for group in groups for site in group}
        self._episodes = dict.fromkeys(self._runners, -1)
        self._eval_runners: dict[Site, EpisodeRunner] = {}
        self._horizons = [task_horizon(config, task) for task in range(len(config.tasks))]

    def collect(self, block: Block, tasks: Sequence[int], *, random: bool) -> list[EpisodeStats]:
        """Fills the block's entries of these environments; returns the episodes that ended.

        Environments of tasks not in ``tasks`` drop their episode.
        """
        views = [tensor.numpy() for tensor in block]
        stats: list[EpisodeStats] = []
        with exact_inference():
            for group in self._groups:
                active = [site for site in group if site.task in tasks]
                for site in group:
                    if site.task not in tasks:
                        self._runners[site].plan = None
                if active:
                    stats += self._collect_group(views, group, active, random=random)
        return stats

    def _collect_group(
        self, views: list[ndarray], group: list[Site], active: list[Site], *, random: bool
    ) -> list[EpisodeStats]:
        obs, act, rew, next_obs, cont, first = views
        infer, task = self._infer.clear(), self._rows(group)
        lanes = [
            (row, site, self._runners[site]) for row, site in enumerate(group) if site in active
        ]
        stats: list[EpisodeStats] = []
        for frame in range(obs.shape[1]):
            forced: dict[int, ndarray] = {}
            for row, site, runner in lanes:
                plan = runner.plan or self._begin(site)
                infer.obs[row, 0, : len(runner.obs)] = runner.obs
                draws = plan.uniform if random else plan.normal
                infer.noise[row, 0, : draws.shape[1]] = draws[runner.frame]
                if not random and runner.frame < len(plan.start):
                    forced[row] = plan.start[runner.frame]
            actions = infer.noise[:, 0] if random else infer(task, explore=True)
            for row, action in forced.items():
                actions[row, : len(action)] = action
            for row, (task_row, copy), runner in lanes:
                at = (task_row, frame, copy)
                obs[at] = infer.obs[row, 0]
                act[at] = actions[row]
                first[at] = runner.frame == 0 or row in forced
                step, ended = runner.step(act[at][: self._act_dims[task_row]])
                next_obs[at][: len(step.next_obs)] = step.next_obs
                rew[at], cont[at] = step.rew, step.cont
                if ended:
                    stats.append(ended)
        return stats

    def evaluate(self, group: Sequence[Site], goals: Sequence[int]) -> list[EpisodeStats]:
        """Runs one deterministic episode for each site of a group, in separate environments;
        ``goals`` has the goal of every copy."""
        infer, task = self._infer.clear(), self._rows(group)
        lanes = []
        stats: dict[Site, EpisodeStats] = {}
        samples: dict[Site, list[ndarray]] = {site: [] for site in group}
        rewards: dict[Site, list[float]] = {site: [] for site in group}
        for row, site in enumerate(group):
            # A task's environments are reused for all its episodes.
            place = Site(site.task, sum(other.task == site.task for other in group[:row]))
            runner = self._eval_runners.get(place) or self._runner(place)
            self._eval_runners[place] = runner
            plan = self._plan(EVAL, site, 0)
            runner.begin(plan._replace(goal=goals[site.copy]))
            lanes.append((row, site, runner))
        with exact_inference():
            while lanes:
                for row, _, runner in lanes:
                    infer.obs[row, 0, : len(runner.obs)] = runner.obs
                actions = infer(task, explore=False)
                for row, site, runner in lanes:
                    keep = runner.frame % -(-self._horizons[site.task] // self.SAMPLE) == 0
                    step, ended = runner.step(actions[row][: self._act_dims[site.task]])
                    rewards[site].append(step.rew)
                    if keep:
                        samples[site].append(_as_row(infer.obs[row, 0], actions[row], step))
                    if ended:
                        stats[site] = replace(
                            ended, sample=np.array(samples[site]), rewards=np.array(rewards[site])
                        )
                lanes = [lane for lane in lanes if lane[1] not in stats]
        return [stats[site] for site in group]

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """For each environment, the number of its episode and the position in it, if running."""
        return {
            f"{site.task}/{site.copy}": {
                "episode": self._episodes[site],
                "position": runner.position() if runner.plan else None,
            }
            for site, runner in self._runners.items()
        }

    def load_state_dict(self, state: dict[str, dict[str, Any]]) -> list[str]:
        """Replays the running episodes; returns the names of environments whose replay diverged
        and whose episode was therefore restarted."""
        elsewhere = []
        for site, runner in self._runners.items():
            saved = state[f"{site.task}/{site.copy}"]
            self._episodes[site] = saved["episode"]
            runner.plan = None
            if saved["position"] is not None:
                plan = self._plan(TRAIN, site, saved["episode"])
                if not runner.replay(plan, saved["position"]):
                    elsewhere.append(runner.name)
        return elsewhere

    def close(self) -> None:
        """
        Raises:
            EpisodeError: an environment could not be closed; the others were.
        """
        self._watchdog.close()
        with ExitStack() as stack:
            for runner in [*self._runners.values(), *self._eval_runners.values()]:
                stack.callback(_close, runner)

    def _runner(self, site: Site) -> EpisodeRunner:
        name = site_name(self._config, site)
        with self._watchdog.watching(name), named(name):
            env: gym.Env = make_task_env(self._config, site.task, seed=self._seed)
        shape = (self._obs_dims[site.task],)
        env = GuardedEnv(env, name, shape=shape, watchdog=self._watchdog)
        return EpisodeRunner(env, site.task, name, info=self._info)

    def _begin(self, site: Site) -> EpisodePlan:
        self._episodes[site] += 1
        plan = self._plan(TRAIN, site, self._episodes[site])
        self._runners[site].begin(plan)
        return plan

    def _plan(self, purpose: int, site: Site, episode: int) -> EpisodePlan:
        key = EpisodeKey(self._seed, purpose, site.task, site.copy, episode)
        return key.plan(
            horizon=self._horizons[site.task],
            act_dim=self._act_dims[site.task],
            num_goals=self._config.num_goals,
            noise_repeat=self._config.noise_repeat,
            random_starts=self._config.random_starts,
            random_start_steps=self._config.random_start_steps,
        )

    def _rows(self, group: Iterable[Site]) -> torch.Tensor:
        rows = torch.zeros(self._config.group_size, dtype=torch.int64)
        tasks = [site.task for site in group]
        rows[: len(tasks)] = torch.tensor(tasks)
        return rows
