"""Metrics of episodes, under the names of the log columns."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from torchrl_lite.collector.episode import EpisodeStats
from torchrl_lite.reporting.console import Row

ByTask = Mapping[int, Sequence[EpisodeStats]]
"""Episodes by task index."""


def by_task(episodes: Iterable[EpisodeStats]) -> ByTask:
    groups: dict[int, list[EpisodeStats]] = defaultdict(list)
    for stats in episodes:
        groups[stats.task].append(stats)
    return groups


def evaluation_row(episodes: ByTask, tasks: Sequence[str]) -> Row:
    """Success, return and length, over all tasks and per task."""
    everything = [stats for group in episodes.values() for stats in group]
    row: Row = {
        "eval/success_rate": success_rate(everything),
        "eval/return": mean([stats.ret for stats in everything]),
        "eval/ep_len_mean": mean([stats.length for stats in everything]),
    }
    for task, group in episodes.items():
        row[f"eval_success/{tasks[task]}"] = success_rate(group)
        row[f"eval_return/{tasks[task]}"] = mean([stats.ret for stats in group])
        row[f"eval_length/{tasks[task]}"] = mean([stats.length for stats in group])
    return row


def held_out_row(episodes: ByTask, tasks: Sequence[str]) -> Row:
    """The same of episodes on held-out goals."""
    row = evaluation_row(episodes, tasks)
    return {f"held_out{name.removeprefix('eval')}": value for name, value in row.items()}


def training_row(episodes: ByTask, tasks: Sequence[str]) -> Row:
    """The training episodes that ended in an epoch: success and return also per task, and what
    the environments reported in ``info``."""
    everything = [stats for group in episodes.values() for stats in group]
    row: Row = {
        "rollout/success_rate": success_rate(everything),
        "rollout/ep_rew_mean": mean([stats.ret for stats in everything]),
        "rollout/ep_len_mean": mean([stats.length for stats in everything]),
    }
    for task, group in episodes.items():
        row[f"rollout_success/{tasks[task]}"] = success_rate(group)
        row[f"rollout_return/{tasks[task]}"] = mean([stats.ret for stats in group])
        row |= _info_row(group, tasks[task])
    return row


def _info_row(episodes: Sequence[EpisodeStats], task: str) -> Row:
    """Means over the episodes that reported a number."""
    row: Row = {}
    for name in dict.fromkeys(name for stats in episodes for name in stats.info):
        told = [stats.info[name] for stats in episodes if name in stats.info]
        row[f"info_mean/{name}/{task}"] = mean([one.mean for one in told])
        row[f"info_last/{name}/{task}"] = mean([one.last for one in told])
    return row


def success_rate(episodes: Sequence[EpisodeStats]) -> float | None:
    """Success rate over the tasks that report success; None if none does.

    Some environments report it only in successful episodes: the others of the task have failed.
    """
    telling = {stats.task for stats in episodes if stats.success is not None}
    return mean([stats.success or 0.0 for stats in episodes if stats.task in telling])


def mean(values: Sequence[float | int]) -> float | None:
    """None without values."""
    return sum(values) / len(values) if values else None
