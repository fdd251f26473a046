"""Deterministic episodes in separate environments."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from torchrl_lite.collector.environments import Environments
from torchrl_lite.collector.episode import EpisodeRunner, EpisodeStats, Transition
from torchrl_lite.collector.inference import exact_inference
from torchrl_lite.collector.plan import EVAL
from torchrl_lite.collector.setup import Site


class Evaluation:
    """Environments are made when they are first needed, and kept."""

    SAMPLE = 50
    """Transitions that an evaluation keeps of a full-length episode, evenly spaced."""

    def __init__(self, environments: Environments) -> None:
        self._environments = environments
        self._runners: dict[Site, EpisodeRunner] = {}

    def run(self, group: Sequence[Site], goals: Sequence[int]) -> list[EpisodeStats]:
        """Runs one deterministic episode for each site of a group, in separate environments;
        ``goals`` has the goal of every copy."""
        infer, task = self._environments.policy(group)
        horizons, act_dims = self._environments.horizons, self._environments.act_dims
        lanes = []
        stats: dict[Site, EpisodeStats] = {}
        samples: dict[Site, list[ndarray]] = {site: [] for site in group}
        rewards: dict[Site, list[float]] = {site: [] for site in group}
        for row, site in enumerate(group):
            # A task's environments are reused for all its episodes.
            place = Site(site.task, sum(other.task == site.task for other in group[:row]))
            runner = self._runners.get(place) or self._environments.runner(place)
            self._runners[place] = runner
            plan = self._environments.plan(EVAL, site, 0)
            runner.begin(plan._replace(goal=goals[site.copy]))
            lanes.append((row, site, runner))
        with exact_inference():
            while lanes:
                for row, _, runner in lanes:
                    infer.obs[row, 0, : len(runner.obs)] = runner.obs
                actions = infer(task, explore=False)
                for row, site, runner in lanes:
                    keep = runner.frame % -(-horizons[site.task] // self.SAMPLE) == 0
                    step, ended = runner.step(actions[row][: act_dims[site.task]])
                    rewards[site].append(step.rew)
                    if keep:
                        samples[site].append(_as_row(infer.obs[row, 0], actions[row], step))
                    if ended:
                        stats[site] = replace(
                            ended, sample=np.array(samples[site]), rewards=np.array(rewards[site])
                        )
                lanes = [lane for lane in lanes if lane[1] not in stats]
        return [stats[site] for site in group]


def _as_row(
    obs: Float32[ndarray, " O"], act: Float32[ndarray, " A"], step: Transition
) -> Float32[ndarray, " D"]:
    """A single transition in the replay buffer's layout."""
    next_obs = np.zeros_like(obs)
    next_obs[: len(step.next_obs)] = step.next_obs
    return np.concatenate((obs, act, next_obs, np.array((step.rew, step.cont, 1), np.float32)))
