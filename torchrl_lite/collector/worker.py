"""Process workers, and the main loop that all kinds of workers share."""

import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import (
    connection,
    current_process,
    get_context,
    parent_process,
    resource_tracker,
)
from multiprocessing.connection import Connection
from typing import Any, Protocol

import torch

from torchrl_lite.collector.failure import failure_of
from torchrl_lite.collector.guard import Watchdog
from torchrl_lite.collector.protocol import Cost, Worker
from torchrl_lite.collector.rollout import Rollout
from torchrl_lite.collector.setup import RolloutSetup
from torchrl_lite.env.failing import RAISED
from torchrl_lite.errors import (
    EpisodeError,
    Failure,
    RunError,
    UserError,
    WorkerDiedError,
    WorkerError,
)
from torchrl_lite.network.actor import Actor
from torchrl_lite.types import Block


class ProcessPool:
    """Workers on this machine. Policy and Block are in shared memory and never sent."""

    def publish(self, policy: Actor) -> None:
        """Nothing to do: the weights are shared."""

    def start(self, index: int, setup: RolloutSetup, block: Block) -> Worker:
        if current_process().daemon:
            raise UserError(
                "system.workers: a daemonic process, such as one of multiprocessing.Pool, cannot "
                "start workers; set them to 0"
            )
        try:
            setup.policy.share_memory()
            for tensor in block:
                tensor.share_memory_()
        except RuntimeError as error:
            if "shared memory" not in str(error):
                raise
            why = str(error).rpartition(": ")[2]
            raise RunError(
                f"system.workers: /dev/shm cannot be used ({why}); give it more space "
                "(docker run --shm-size=1g), or set system.workers to 0"
            ) from None
        return ProcessWorker(index, setup, block)


class ProcessWorker:
    """A process that blocks the signals that stop a run from its start: only the main process
    handles them. It ends with the main process, however that ends.
    """

    def __init__(self, index: int, setup: RolloutSetup, block: Block) -> None:
        self.index = index
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve_main_process,
            args=(theirs, setup, block),
            name=f"rollout-{index}",
            daemon=True,
        )
        try:
            with signals_blocked():
                self._process.start()
        except BaseException:  # such as a signal; nobody else knows the process yet
            self.kill()
            self.join()
            raise
        finally:
            theirs.close()

    def send(self, method: str, *args: Any) -> None:
        try:
            self._connection.send((method, args))
        except (BrokenPipeError, ConnectionResetError):
            raise self._died() from None

    def receive(self) -> Any:
        connection.wait([self._connection, self._process.sentinel])
        try:
            good, value = self._connection.recv()
        except (EOFError, OSError):  # an OSError if it died within its answer
            raise self._died() from None
        if not good:
            raise WorkerError(f"rollout worker {self.index}", value)
        return value

    def kill(self) -> None:
        self._connection.close()
        if self._process.pid is not None:
            self._process.kill()

    def join(self) -> None:
        if self._process.pid is not None:
            self._process.join()

    def _died(self) -> WorkerDiedError:
        self._process.join(timeout=5)
        code = self._process.exitcode
        error = WorkerDiedError(f"rollout worker {self.index} died (exit code {code})")
        error.process_code = code
        return error


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Block the signals that stop a run; children inherit the mask, and signals are delivered
    afterwards."""
    # The tracker ignores the other two, and its start unblocks them: so it starts in between.
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


class Pipe(Protocol):
    """A worker's connection to the main process."""

    def recv(self) -> tuple[str, Sequence[Any]]:
        """A method and its arguments; raises EOFError once the main process is gone."""

    def send(self, answer: tuple[bool, Any], /) -> None:
        """True and the answer, or False and a `Failure`."""


def serve(pipe: Pipe, setup: RolloutSetup, block: Block, *, on_hang: Callable[[str], None]) -> None:
    """A worker's main loop, wherever it runs: one message in and one out per epoch.

    ``on_hang`` is called with a message about a hung environment.
    """
    rollout: Rollout | None = None
    reported = 0.0  # CPU seconds reported so far
    try:
        rollout = Rollout(setup, Watchdog(setup.env_timeout_s, on_hang))
        pipe.send((True, None))
        while True:
            method, args = pipe.recv()
            if method == "collect":
                tasks, random = args
                started = time.perf_counter()
                episodes = rollout.collect(block, tasks, random=random)
                cost = Cost(time.perf_counter() - started, time.process_time() - reported)
                reported += cost.cpu_s
                # As bytes, not as tensors in shared memory: only a replacement worker reads them.
                pipe.send((True, (episodes, cost, pickle.dumps(rollout.state_dict()))))
            elif method == "load_state_dict":
                pipe.send((True, rollout.load_state_dict(pickle.loads(*args))))
            else:
                pipe.send((True, getattr(rollout, method)(*args)))
    except EOFError:
        pass
    except RAISED as error:
        with suppress(OSError):
            pipe.send((False, failure_of(error)))
    finally:
        if rollout is not None:
            with suppress(EpisodeError):  # nobody listens any more
                rollout.close()


def _serve_main_process(pipe: Connection, setup: RolloutSetup, block: Block) -> None:
    def on_hang(message: str) -> None:
        pipe.send((False, Failure(message)))  # safe: the main thread hangs and does not write
        os._exit(1)

    _die_with_parent()
    torch.set_num_threads(1)
    serve(pipe, setup, block, on_hang=on_hang)


def _die_with_parent() -> None:
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
