"""Evaluates a policy, with intervals."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from scipy.stats import binomtest

from torchrl_lite.analysis.statistics import mean
from torchrl_lite.collector.collector import Collector
from torchrl_lite.collector.finite import check_episodes
from torchrl_lite.collector.setup import RolloutSetup
from torchrl_lite.config import MAX_SEED, nearest
from torchrl_lite.env.goals import HELD_OUT
from torchrl_lite.errors import UserError
from torchrl_lite.network.torch_settings import default_settings
from torchrl_lite.policies.file import TaskEvaluation
from torchrl_lite.policies.policy import Policy


class TaskSummary(NamedTuple):
    """Episodes of one task; ``low`` and ``high`` bound the success rate with 95 % confidence
    (Wilson), ``ret_low`` and ``ret_high`` the mean return (bootstrap).

    The first three are None if the task does not report success, the last two for one episode.
    """

    task: str
    episodes: int
    success: float | None
    low: float | None
    high: float | None
    ret: float
    ret_low: float | None
    ret_high: float | None
    length: float

    @property
    def cells(self) -> list[str]:
        """Task, episodes, success and its interval, and return, as tables show them."""
        told = self.success is not None
        success = f"{self.success:.2f}" if told else ""
        interval = f"{self.low:.2f} to {self.high:.2f}" if told else ""
        return [self.task, str(self.episodes), success, interval, f"{self.ret:.1f}"]


def tasks_of(policy: Policy, names: Sequence[str]) -> list[int]:
    """Indices of the named tasks; of all tasks if no name is given.

    Raises:
        UserError: the policy was not trained on one.
    """
    known = policy.config.env.tasks
    for name in names:
        if name not in known:
            raise UserError(
                f"--task: {name!r} is not a task of this policy; it has {', '.join(known)}"
                f"{nearest(name, known)}"
            )
    return [known.index(name) for name in dict.fromkeys(names)] or list(range(len(known)))


def goal_numbers(policy: Policy, goals: str | int) -> range:
    """The numbers of these goals, as ``reset(options={"goal": number})`` takes them.

    Raises:
        UserError: the policy's tasks do not have them.
    """
    env = policy.config.env
    known = range(env.num_goals)
    if goals == "train":
        return known
    if not env.has_goals:
        raise UserError(f"--goals: only Meta-World's tasks have goals, not {env.tasks[0]}")
    if goals == "held_out":
        return HELD_OUT
    if goals not in known:
        hint = nearest(str(goals), ("train", "held_out"))
        raise UserError(f"--goals: {goals!r} is not train, held_out or 0 to {known[-1]}{hint}")
    return known[int(goals) : int(goals) + 1]


@default_settings()
def evaluate(
    policy: Policy,
    tasks: Sequence[str | int] = (),
    *,
    episodes: int = 10,
    seed: int | None = None,
    goals: str | int = "train",
    workers: int = 0,
) -> tuple[list[TaskEvaluation], float]:
    """Runs deterministic episodes on evenly spread goals; also returns the frames per second.

    ``tasks``: their names or indices, by default all; ``episodes``: of each task, on Meta-World at
    most one per goal; ``seed`` draws the goals, by default those of the training; ``goals``:
    "train", "held_out" (the test goals of ``metaworld.ML1``) or the number of one goal;
    ``workers``: processes, 0 to evaluate in this one.

    Raises:
        UserError: an unknown task, no episodes, an impossible seed, or goals that the tasks do not
            have.
        EpisodeError: an environment failed.
        NotFiniteError: a return is not finite, as with damaged weights.
    """
    if episodes < 1:
        raise UserError(f"episodes: is {episodes}; it must be at least 1")
    if workers < 0:
        raise UserError(f"workers: is {workers}; it must be at least 0")
    tasks = [tasks] if isinstance(tasks, str) else tasks
    numbers = goal_numbers(policy, goals)
    indices = list(dict.fromkeys(map(policy.index, tasks))) or list(range(len(policy.tasks)))
    seed = policy.seed if seed is None else seed
    if not 0 <= seed <= MAX_SEED:
        raise UserError(f"seed: is {seed}; it must be from 0 to {MAX_SEED}")
    config = policy.config.env.model_copy(update={"num_envs": policy.config.num_tasks})
    setup = RolloutSetup(config, policy.spec, policy.actor, seed)
    with Collector(setup, epoch_frames=1, workers=workers) as collector:
        started = time.perf_counter()
        results = collector.evaluate(policy.actor, indices, episodes, goals=numbers)
        seconds = time.perf_counter() - started
    check_episodes(results, config.tasks)
    evaluations = [
        TaskEvaluation.of(config.tasks[task], [stats for stats in results if stats.task == task])
        for task in indices
    ]
    return evaluations, sum(stats.length for stats in results) / seconds


def summary(evaluation: TaskEvaluation) -> TaskSummary:
    """Success rate, mean return and mean length of a task's episodes, with intervals."""
    count = len(evaluation.returns)
    told = [success for success in evaluation.successes if success is not None]
    interval = binomtest(sum(told), len(told)).proportion_ci(method="wilson") if told else None
    ret = mean(evaluation.returns)
    return TaskSummary(
        task=evaluation.task,
        episodes=count,
        success=sum(told) / len(told) if told else None,
        low=float(interval.low) if interval else None,
        high=float(interval.high) if interval else None,
        ret=sum(evaluation.returns) / count,
        ret_low=ret.low,
        ret_high=ret.high,
        length=sum(evaluation.lengths) / count,
    )
