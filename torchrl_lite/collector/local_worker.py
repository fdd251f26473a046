"""A worker without a process of its own."""

import pickle
import time
from collections.abc import Callable
from typing import Any

from torchrl_lite.collector.guard import Watchdog, end_process
from torchrl_lite.collector.protocol import Cost
from torchrl_lite.collector.rollout import Rollout
from torchrl_lite.collector.setup import RolloutSetup
from torchrl_lite.types import Block


class LocalWorker:
    """Steps its environments in the main process, within `send`."""

    def __init__(
        self, setup: RolloutSetup, block: Block, *, restarted: Callable[[list[str]], None]
    ) -> None:
        """``restarted``: as for a `SupervisedWorker`."""
        self._block, self._restarted = block, restarted
        self._rollout = Rollout(setup, Watchdog(setup.env_timeout_s, end_process))
        self._answer: Any = None

    def send(self, method: str, *args: Any) -> None:
        if method == "collect":
            tasks, random = args
            started = time.perf_counter()
            episodes = self._rollout.collect(self._block, tasks, random=random)
            self._answer = episodes, Cost(time.perf_counter() - started, 0.0)
        elif method == "load_state_dict":
            self._restarted(self._rollout.load_state_dict(pickle.loads(*args)))
            self._answer = None
        else:
            self._answer = getattr(self._rollout, method)(*args)

    def receive(self) -> Any:
        return self._answer

    def kill(self) -> None:
        """Nothing to do: nothing runs between two calls."""

    def join(self) -> None:
        self._rollout.close()
