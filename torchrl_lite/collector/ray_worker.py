"""Workers as Ray actors, on this machine or many."""

import os
import pickle
import signal
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from queue import SimpleQueue
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy import ndarray

from torchrl_lite.collector import ray_connection as ray_package
from torchrl_lite.collector.protocol import Worker
from torchrl_lite.collector.setup import RolloutSetup
from torchrl_lite.collector.worker import serve, signals_blocked
from torchrl_lite.config import RayConfig
from torchrl_lite.errors import Failure, WorkerDiedError, WorkerError
from torchrl_lite.network.actor import Actor
from torchrl_lite.types import Block


class RayPool:
    """Workers on an existing cluster, or on one that is started here and ends with this pool.

    Weights are put into Ray's object store once for all workers; each worker sends back the
    transitions of its environments.
    """

    def __init__(self, config: RayConfig) -> None:
        """Prints a line if the cluster is too small.

        Raises:
            UserError: Ray is not installed, or there is no cluster at the address.
        """
        cpus = config.cpus_per_worker
        handler = signal.getsignal(signal.SIGTERM)
        # Ray's processes inherit the mask: they are in our process group, which a scheduler
        # signals as a whole, and only the main process handles signals.
        with signals_blocked() if config.address == "local" else nullcontext():
            try:
                self.ray = ray_package.connect(
                    config.address, key="system.ray.address", num_cpus=config.num_workers * cpus
                )
            finally:  # Ray's own handler would end the main process
                signal.signal(signal.SIGTERM, handler)
        self._host = self.ray.remote(num_cpus=cpus, scheduling_strategy="SPREAD")(_Host)
        self.weights: Any = None
        """A reference to the published weights."""
        nodes = [node["Resources"].get("CPU", 0) for node in self.ray.nodes() if node["Alive"]]
        room = sum(int(node // cpus) for node in nodes)
        if room < config.num_workers:  # a cluster may grow
            print(
                f"system.ray.num_workers: {config.num_workers} with {cpus} CPUs each, but the "
                f"cluster has room for {room}; the others wait until it grows"
            )

    def publish(self, policy: Actor) -> None:
        self.weights = self.ray.put([weights.numpy() for weights in policy.state_dict().values()])

    def start(self, index: int, setup: RolloutSetup, block: Block) -> Worker:
        return RayWorker(self, index, self._host.remote(setup, block.rew.shape[1]), block)

    def close(self) -> None:
        """End a cluster that was started here; one that was joined keeps running."""
        self.ray.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Rows(NamedTuple):
    """The part of a Block that belongs to some environments."""

    task: Int64[ndarray, " n"]
    copy: Int64[ndarray, " n"]
    tensors: list[Float32[ndarray, "n L ..."]]

    @classmethod
    def of(cls, block: Block, sites: Sequence[tuple[int, int]]) -> Self:
        task, copy = np.array(sites, np.int64).reshape(-1, 2).T
        return cls(task, copy, [tensor.numpy()[task, :, copy] for tensor in block])

    def copy_to(self, block: Block) -> None:
        for tensor, mine in zip(block, self.tensors, strict=True):
            tensor.numpy()[self.task, :, self.copy] = mine


class Answer(NamedTuple):
    good: bool
    value: bytes
    """Pickled, since arrays unpacked by Ray are read-only."""
    rows: Rows
    """The collected transitions."""


class RayWorker:
    """The main process's handle of an actor.

    It waits for futures and never in Ray's `get`, which swallows exceptions of signal handlers.
    """

    def __init__(self, pool: RayPool, index: int, actor: Any, block: Block) -> None:
        self._pool, self._index, self._actor, self._block = pool, index, actor, block
        self._answer = actor.ready.remote()

    def send(self, method: str, *args: Any) -> None:
        self._answer = self._actor.answer.remote(self._pool.weights, method, args)

    def receive(self) -> Any:
        try:
            answer: Answer = self._answer.future().result()
        except self._pool.ray.exceptions.RayError as error:
            self.kill()
            raise self._failed(error) from None
        value = pickle.loads(answer.value)
        if not answer.good:
            raise WorkerError(f"rollout worker {self._index}", value)
        answer.rows.copy_to(self._block)
        return value

    def _failed(self, error: Exception) -> WorkerError:
        """WorkerDiedError for a death; WorkerError for an exception in our code, which recurs."""
        kinds = self._pool.ray.exceptions
        if isinstance(error, kinds.RayTaskError) or getattr(error, "actor_init_failed", False):
            return WorkerError(f"rollout worker {self._index}: {error}")
        reason = str(error).strip().splitlines()[-1].strip()
        return WorkerDiedError(f"rollout worker {self._index} died ({reason})")

    def kill(self) -> None:
        self._pool.ray.kill(self._actor)

    def join(self) -> None:
        """Nothing to do: Ray cleans up."""


class _Host:
    """An actor. The worker's main loop is in a separate thread, so that the actor can report a
    hung environment."""

    def __init__(self, setup: RolloutSetup, frames: int) -> None:
        torch.set_num_threads(1)
        self._weights = [weights.numpy() for weights in setup.policy.state_dict().values()]
        self._block = Block.zeros(setup.spec, frames, setup.config.copies)
        self._sites = [site for group in setup.groups for site in group]
        self._pipe = _Pipe(SimpleQueue(), SimpleQueue())
        threading.Thread(target=self._serve, args=(setup,), daemon=True).start()

    def _serve(self, setup: RolloutSetup) -> None:
        try:
            serve(self._pipe, setup, self._block, on_hang=self._on_hang)
        except BaseException:  # it would end this thread alone
            os._exit(1)

    def _on_hang(self, message: str) -> None:
        self._pipe.send((False, Failure(message)))

    def ready(self) -> Answer:
        """Answer once the environments are ready."""
        return self._answer(())

    def answer(
        self, weights: Sequence[Float32[ndarray, "..."]], method: str, args: Sequence[Any]
    ) -> Answer:
        for mine, new in zip(self._weights, weights, strict=True):
            mine[...] = new
        self._pipe.requests.put((method, args))
        return self._answer(args[0] if method == "collect" else ())

    def _answer(self, tasks: Sequence[int]) -> Answer:
        good, value = self._pipe.answers.get()
        collected = [site for site in self._sites if site.task in tasks]
        return Answer(good, pickle.dumps(value), Rows.of(self._block, collected))


class _Pipe(NamedTuple):
    """A connection between two threads."""

    requests: "SimpleQueue[tuple[str, Sequence[Any]]]"
    answers: "SimpleQueue[tuple[bool, Any]]"

    def recv(self) -> tuple[str, Sequence[Any]]:
        return self.requests.get()

    def send(self, answer: tuple[bool, Any], /) -> None:
        self.answers.put(answer)
