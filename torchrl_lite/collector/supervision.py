"""Replaces a worker that died, without changing what is collected."""

from collections.abc import Callable
from typing import Any

from torchrl_lite.collector.protocol import Worker
from torchrl_lite.errors import WorkerDiedError, WorkerError

MAX_DEATHS = 3
"""The run stops when workers with the same environments have died this many times."""


class SupervisedWorker:
    """Answers one request at a time, even if the process that works on it dies.

    A new process replays the running episodes to their state before the request, and repeats the
    request; the published policy is still the same. ``restarted`` is called with the names of
    environments whose replay differs.
    """

    def __init__(
        self,
        start: Callable[[], Worker],
        environments: str,
        *,
        say: Callable[[str], None],
        restarted: Callable[[list[str]], None],
    ) -> None:
        self._start, self._environments = start, environments
        self._say, self._restarted = say, restarted
        self._deaths = 0
        self._positions: bytes | None = None
        self._request: tuple[str, tuple[Any, ...]] | None = None
        self._worker = start()

    def send(self, method: str, *args: Any) -> None:
        self._request = (method, args)
        try:
            self._worker.send(method, *args)
        except WorkerDiedError as death:
            self._replace(death)

    def receive(self) -> Any:
        """The answer to `send`, or None from a new worker whose environments are ready.

        Raises:
            WorkerError: the worker raised an exception, or died `MAX_DEATHS` times.
        """
        value = self._answer()
        method, args = self._request or ("", ())
        self._request = None
        if method == "collect":
            episodes, cost, self._positions = value
            return episodes, cost
        if method == "load_state_dict":
            (self._positions,) = args
            self._restarted(value)
            return None
        return value

    def kill(self) -> None:
        self._worker.kill()

    def join(self) -> None:
        self._worker.join()

    def _answer(self) -> Any:
        while True:
            try:
                return self._worker.receive()
            except WorkerDiedError as death:
                self._replace(death)

    def _replace(self, death: WorkerDiedError) -> None:
        """Start a new worker, restore the old one's state, and send the request again."""
        while True:
            if self._request is None and death.process_code == 1:
                raise WorkerError(
                    f"{death} by an exception while it started, see above; a script that uses "
                    'workers needs if __name__ == "__main__":'
                ) from None
            self._deaths += 1
            if self._deaths == MAX_DEATHS:
                raise WorkerError(
                    f"{death}, the {MAX_DEATHS}rd death of {self._environments}; "
                    "the last checkpoint is intact"
                ) from None
            self._say(f"{death}: a new one replays its environments")
            self._worker.join()
            self._worker = self._start()
            try:
                if self._request is None:
                    return  # the caller waits for its first answer
                self._worker.receive()
                if self._positions is not None and self._request[0] != "load_state_dict":
                    self._worker.send("load_state_dict", self._positions)
                    self._restarted(self._worker.receive())
                method, args = self._request
                self._worker.send(method, *args)
                return
            except WorkerDiedError as again:
                death = again
