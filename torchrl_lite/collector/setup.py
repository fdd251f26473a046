"""Which environments there are, and everything a process needs to step them."""

from collections.abc import Sequence
from typing import NamedTuple

from torchrl_lite.config import EnvConfig
from torchrl_lite.network.actor import Actor
from torchrl_lite.types import Spec


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


def sites(tasks: Sequence[int], copies: int) -> list[Site]:
    """All copies of these tasks; in an evaluation, a copy is an episode. Tasks vary fastest, so
    that a group needs few environments of one task."""
    return [Site(task, copy) for copy in range(copies) for task in tasks]


class RolloutSetup(NamedTuple):
    """What a `Rollout` is built from, in this process or in a worker."""

    config: EnvConfig
    spec: Spec
    policy: Actor
    """Its weights will change."""
    seed: int
    env_timeout_s: float = 300.0
    info: Sequence[str] = ()
    """Numbers in each step's ``info`` that the statistics of episodes report."""
    groups: Sequence[Sequence[Site]] = ()
    """The training environments of this process; a `Collector` assigns them."""
