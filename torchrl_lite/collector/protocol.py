"""Interface between a `Collector` and its workers, wherever they run."""

from typing import Any, NamedTuple, Protocol

from torchrl_lite.collector.setup import RolloutSetup
from torchrl_lite.network.actor import Actor
from torchrl_lite.types import Block


class Cost(NamedTuple):
    """Time taken to collect an epoch."""

    seconds: float
    """Wall time of the slowest worker."""
    cpu_s: float
    """CPU seconds of all workers since their last report, without the main process."""


class Worker(Protocol):
    """The main process's handle of a worker. Its first answer, without a request, says that its
    environments are ready."""

    def send(self, method: str, *args: Any) -> None:
        """``method``: the name of a method of `Rollout`.

        Raises:
            WorkerDiedError: the worker is dead.
        """

    def receive(self) -> Any:
        """The answer to the oldest unanswered `send`; collected transitions are in the Block.

        Raises:
            WorkerError: the worker raised an exception, or one of its environments hangs.
            WorkerDiedError: the worker is dead.
        """

    def kill(self) -> None:
        """End the worker at once, possibly in mid-epoch: nothing in it is needed any more."""

    def join(self) -> None:
        """Wait for the end of a worker that was killed or died."""


class WorkerPool(Protocol):
    """Starts workers and gives them new weights."""

    def publish(self, policy: Actor) -> None:
        """Use these weights for all following requests."""

    def start(self, index: int, setup: RolloutSetup, block: Block) -> Worker:
        """Start a worker that fills its environments' part of ``block``."""
