"""From environments to Blocks."""

from torchrl_lite.collector.collector import Collected, Collector
from torchrl_lite.collector.crew import Crew, WorkerError
from torchrl_lite.collector.episode import EpisodeError, EpisodeStats
from torchrl_lite.collector.faults import (
    NotFiniteError,
    check_block,
    check_episodes,
    check_metrics,
)
from torchrl_lite.collector.film import check_renderer, record, watch
from torchrl_lite.collector.worker import Processes

__all__ = [
    "Collected",
    "Collector",
    "Crew",
    "EpisodeError",
    "EpisodeStats",
    "NotFiniteError",
    "Processes",
    "WorkerError",
    "check_block",
    "check_episodes",
    "check_metrics",
    "check_renderer",
    "record",
    "watch",
]
