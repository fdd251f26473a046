"""Steps groups of environments with a frozen policy, in the main process or in a worker."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from numpy import ndarray

from torchrl_lite.collector.environments import Environments
from torchrl_lite.collector.episode import EpisodeStats
from torchrl_lite.collector.evaluation import Evaluation
from torchrl_lite.collector.guard import Watchdog
from torchrl_lite.collector.inference import exact_inference
from torchrl_lite.collector.plan import TRAIN, EpisodePlan
from torchrl_lite.collector.setup import RolloutSetup, Site
from torchrl_lite.types import Block


class Rollout:
    """The environments of some groups and their current episodes."""

    def __init__(self, setup: RolloutSetup, watchdog: Watchdog) -> None:
        self._environments = environments = Environments(setup, watchdog)
        self._groups = [list(group) for group in setup.groups]
        sites = [site for group in self._groups for site in group]
        try:
            self._runners = {site: environments.runner(site) for site in sites}
        except BaseException:
            with suppress(Exception):  # the first error is the cause
                environments.close()
            raise
        self._episodes = dict.fromkeys(self._runners, -1)
        self._evaluation = Evaluation(environments)

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

    def evaluate(self, group: Sequence[Site], goals: Sequence[int]) -> list[EpisodeStats]:
        """See `Evaluation.run`."""
        return self._evaluation.run(group, goals)

    def _collect_group(
        self, views: list[ndarray], group: list[Site], active: list[Site], *, random: bool
    ) -> list[EpisodeStats]:
        obs, act, rew, next_obs, cont, first = views
        infer, task = self._environments.policy(group)
        lanes = [
            (row, site, self._runners[site]) for row, site in enumerate(group) if site in active
        ]
        stats: list[EpisodeStats] = []
        for frame in range(obs.shape[1]):
            for row, site, runner in lanes:
                plan = runner.plan or self._begin(site)
                infer.obs[row, 0, : len(runner.obs)] = runner.obs
                draws = plan.uniform if random else plan.normal
                infer.noise[row, 0, : draws.shape[1]] = draws[runner.frame]
            # In a random epoch, the uniform numbers are the actions.
            actions = infer.noise[:, 0] if random else infer(task, explore=True)
            for row, (task_row, copy), runner in lanes:
                at = (task_row, frame, copy)
                obs[at] = infer.obs[row, 0]
                act[at] = actions[row]
                first[at] = runner.frame == 0
                step, ended = runner.step(act[at][: self._environments.act_dims[task_row]])
                next_obs[at][: len(step.next_obs)] = step.next_obs
                rew[at], cont[at] = step.rew, step.cont
                if ended:
                    stats.append(ended)
        return stats

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
                plan = self._environments.plan(TRAIN, site, saved["episode"])
                if not runner.replay(plan, saved["position"]):
                    elsewhere.append(runner.name)
        return elsewhere

    def _begin(self, site: Site) -> EpisodePlan:
        self._episodes[site] += 1
        plan = self._environments.plan(TRAIN, site, self._episodes[site])
        self._runners[site].begin(plan)
        return plan

    def close(self) -> None:
        """
        Raises:
            EpisodeError: an environment could not be closed; the others were.
        """
        self._environments.close()
