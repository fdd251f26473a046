"""Metrics of episodes, under the names of the log columns."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import torch

from torchrl_lite.algo.learner import Learner
from torchrl_lite.algo.replay_buffer import ReplayBuffer
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
        "eval/return": _mean([stats.ret for stats in everything]),
        "eval/ep_len_mean": _mean([stats.length for stats in everything]),
    }
    for task, group in episodes.items():
        row[f"eval_success/{tasks[task]}"] = success_rate(group)
        row[f"eval_return/{tasks[task]}"] = _mean([stats.ret for stats in group])
        row[f"eval_length/{tasks[task]}"] = _mean([stats.length for stats in group])
    return row


def held_out_row(episodes: ByTask, tasks: Sequence[str]) -> Row:
    """Success and return on held-out goals, over all tasks and per task."""
    everything = [stats for group in episodes.values() for stats in group]
    row: Row = {
        "held_out/success_rate": success_rate(everything),
        "held_out/return": _mean([stats.ret for stats in everything]),
    }
    for task, group in episodes.items():
        row[f"held_out_success/{tasks[task]}"] = success_rate(group)
        row[f"held_out_return/{tasks[task]}"] = _mean([stats.ret for stats in group])
    return row


def training_row(episodes: ByTask, tasks: Sequence[str]) -> Row:
    """The training episodes that ended in an epoch: success and return also per task, and what
    the environments reported in ``info``."""
    everything = [stats for group in episodes.values() for stats in group]
    row: Row = {
        "rollout/success_rate": success_rate(everything),
        "rollout/ep_rew_mean": _mean([stats.ret for stats in everything]),
        "rollout/ep_len_mean": _mean([stats.length for stats in everything]),
    }
    for task, group in episodes.items():
        row[f"rollout_success/{tasks[task]}"] = success_rate(group)
        row[f"rollout_return/{tasks[task]}"] = _mean([stats.ret for stats in group])
        row |= _info_row(group, tasks[task])
    return row


def _info_row(episodes: Sequence[EpisodeStats], task: str) -> Row:
    """Means over the episodes that reported a number."""
    row: Row = {}
    for name in dict.fromkeys(name for stats in episodes for name in stats.info):
        told = [stats.info[name] for stats in episodes if name in stats.info]
        row[f"info_mean/{name}/{task}"] = _mean([one.mean for one in told])
        row[f"info_last/{name}/{task}"] = _mean([one.last for one in told])
    return row


def success_rate(episodes: Sequence[EpisodeStats]) -> float | None:
    """Success rate of the episodes that report success; None if none does."""
    return _mean([stats.success for stats in episodes if stats.success is not None])


def td_error(episodes: ByTask, learner: Learner, buffer: ReplayBuffer) -> float | None:
    """The critics' one-step loss on transitions that are never trained on: the gap to the training
    loss is overfitting. ``buffer`` scales rewards as in updates."""
    errors = []
    for index, group in episodes.items():
        rows = [torch.from_numpy(stats.sample) for stats in group if stats.sample is not None]
        if rows:
            task = torch.tensor([index], device=learner.device)
            batch = buffer.batch(
                torch.cat(rows)[None].to(task.device), task, discount=learner.config.discount
            )
            errors.append(float(learner.validate(batch)))
    return _mean(errors)


def _mean(values: Sequence[float | int]) -> float | None:
    return sum(values) / len(values) if values else None
