"""A worker that is replaced when it dies, without a change in what it collects."""

from collections.abc import Callable
from typing import Any

from torchrl_lite.collector.protocol import Worker
from torchrl_lite.errors import WorkerDiedError, WorkerError

MAX_DEATHS = 3
"""As often as this the same environments may not take their process with them."""


class SupervisedWorker:
    """One request at a time, answered in spite of the death of the process that works on it.

    A new process replays the running episodes as they stood before the request, and begins the
    request again: the policy that was published is still that of the request. Environments that
    do not replay are told to ``restarted``.
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
        """The answer to `send`, or None from a new worker whose environments stand.

        Raises:
            WorkerError: the worker raised, or its environments have killed three.
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
        """Brings a new worker to where the old one was, its request sent."""
        while True:
            self._deaths += 1
            if self._deaths == MAX_DEATHS:
                raise WorkerError(
                    f"{death}, the {MAX_DEATHS}rd death of {self._environments}; "
                    "the last checkpoint stands"
                ) from None
            self._say(f"{death}: a new one replays its environments")
            self._worker.join()
            self._worker = self._start()
            try:
                if self._request is None:
                    return  # its first answer is waited for
                self._worker.receive()
                if self._positions is not None and self._request[0] != "load_state_dict":
                    self._worker.send("load_state_dict", self._positions)
                    self._restarted(self._worker.receive())
                method, args = self._request
                self._worker.send(method, *args)
                return
            except WorkerDiedError as again:
                death = again
