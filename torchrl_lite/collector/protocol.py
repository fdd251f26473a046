"""What a `Collector` asks of its workers, wherever they are."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from torchrl_lite.collector.rollout import Site
from torchrl_lite.config import EnvConfig
from torchrl_lite.network.actor import Actor
from torchrl_lite.types import Block, Spec


class Assignment(NamedTuple):
    """What a worker works on: groups of environments, and a policy whose weights will change."""

    config: EnvConfig
    spec: Spec
    policy: Actor
    seed: int
    groups: Sequence[Sequence[Site]]
    env_timeout_s: float


class Cost(NamedTuple):
    """What an epoch's collection took."""

    seconds: float
    """Of the slowest worker, by the clock."""
    cpu_s: float
    """CPU seconds of all workers since they last told; none of the main process's own."""


class Worker(Protocol):
    """The main process's end of a worker. Its first answer, which nobody asks for, is that its
    environments stand."""

    def send(self, method: str, *args: Any) -> None:
        """
        Raises:
            WorkerDiedError: it is dead.
        """

    def receive(self) -> Any:
        """The answer to the oldest unanswered `send`; what was collected is in the Block.

        Raises:
            WorkerError: the worker raised, or an environment of its does not answer.
            WorkerDiedError: it is dead.
        """

    def kill(self) -> None:
        """Ends it at once: nothing in it is needed, and it may be in mid-epoch."""

    def join(self) -> None:
        """Waits for the end of a worker that was killed, or that died."""


class WorkerPool(Protocol):
    """Where workers come from, and how they learn of new weights."""

    def publish(self, policy: Actor) -> None:
        """Whatever is sent from now on is meant for these weights."""

    def start(self, index: int, work: Assignment, block: Block) -> Worker:
        """A worker that fills its environments' rows of ``block``."""
