"""A process around a `Rollout`: one message in and one message out per epoch."""

import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection
from typing import Any

import torch

from torchrl_lite.collector.faults import Watchdog
from torchrl_lite.collector.rollout import Rollout, Site
from torchrl_lite.config import EnvConfig
from torchrl_lite.network import Actor
from torchrl_lite.types import Block, Spec


class WorkerError(RuntimeError):
    """A worker failed; the message carries its traceback, or how it died."""


class WorkerDiedError(WorkerError):
    """A worker's process is gone, without a word about why."""


class Worker:
    """The main process's end. The policy and the Block are shared memory: neither is ever sent.

    The worker ignores SIGINT and SIGTERM from before its first instruction: what they mean is for
    the main process to decide. It ends when the main process does, however that ends.
    """

    def __init__(
        self,
        index: int,
        config: EnvConfig,
        spec: Spec,
        policy: Actor,
        block: Block,
        *,
        seed: int,
        groups: Sequence[Sequence[Site]],
        env_timeout_s: float,
    ) -> None:
        self.index = index
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve,
            args=(theirs, config, spec, policy, block, seed, groups, env_timeout_s),
            name=f"rollout-{index}",
            daemon=True,
        )
        try:
            with _signals_blocked():
                self._process.start()
        except BaseException:  # a signal that came meanwhile; nobody else knows of the process yet
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
        """The answer to the oldest unanswered `send`.

        Raises:
            WorkerError: the worker raised, or an environment of its does not answer.
            WorkerDiedError: it is dead.
        """
        connection.wait([self._connection, self._process.sentinel])
        try:
            good, value = self._connection.recv()
        except (EOFError, ConnectionResetError):
            raise self._died() from None
        if not good:
            raise WorkerError(f"rollout worker {self.index}: {value}")
        return value

    def kill(self) -> None:
        """Ends the process at once: nothing in it is needed, and it may be in mid-epoch."""
        self._connection.close()
        if self._process.pid is not None:
            self._process.kill()

    def join(self) -> None:
        if self._process.pid is not None:
            self._process.join()

    def _died(self) -> WorkerDiedError:
        self._process.join(timeout=5)
        return WorkerDiedError(
            f"rollout worker {self.index} died (exit code {self._process.exitcode})"
        )


@contextmanager
def _signals_blocked() -> Any:
    """Children inherit the mask; a signal that arrives meanwhile is delivered afterwards."""
    resource_tracker.ensure_running()  # its start, which the first child's would bring, unblocks
    blocked = {signal.SIGINT, signal.SIGTERM}
    old = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def _serve(
    pipe: Connection,
    config: EnvConfig,
    spec: Spec,
    policy: Actor,
    block: Block,
    seed: int,
    groups: Sequence[Sequence[Site]],
    env_timeout_s: float,
) -> None:
    def bark(message: str) -> None:
        pipe.send((False, message))  # nobody else writes: the main thread hangs
        os._exit(1)

    _die_with_parent()
    torch.set_num_threads(1)
    rollout: Rollout | None = None
    try:
        watchdog = Watchdog(env_timeout_s, bark)
        rollout = Rollout(config, spec, policy, seed=seed, groups=groups, watchdog=watchdog)
        pipe.send((True, None))
        while True:
            method, args = pipe.recv()
            if method == "collect":
                tasks, random = args
                started = time.perf_counter()
                episodes = rollout.collect(block, tasks, random=random)
                seconds = time.perf_counter() - started
                # As bytes, not as tensors in shared memory: only a new worker ever looks at them.
                pipe.send((True, (episodes, seconds, pickle.dumps(rollout.state_dict()))))
            elif method == "load_state_dict":
                pipe.send((True, rollout.load_state_dict(pickle.loads(*args))))
            else:
                pipe.send((True, getattr(rollout, method)(*args)))
    except EOFError:
        pass
    except Exception as error:
        with_traceback = f"{error}\n\n{traceback.format_exc().rstrip()}"
        with suppress(OSError):
            pipe.send((False, with_traceback))
    finally:
        if rollout is not None:
            rollout.close()


def _die_with_parent() -> None:
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
