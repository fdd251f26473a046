"""Standard streams whose failure does not end a run: undeliverable output is dropped."""

import os
import sys
from io import TextIOWrapper
from typing import Any


class Output:
    """A text stream that records a failure instead of raising it.

    After a failure, its file descriptor points to ``/dev/null``, also for other libraries and
    child processes.
    """

    def __init__(self, stream: TextIOWrapper) -> None:
        self._stream = stream
        self.lost: str | None = None
        """Why output is no longer written; None while it is."""

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError) as error:  # a ValueError if it is closed
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        self.lost = self.lost or getattr(error, "strerror", None) or str(error)
        if not self._stream.closed:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def make_safe() -> None:
    """Makes ``stdout`` and ``stderr`` of this process safe. Characters outside their encoding are
    escaped. A closed descriptor is opened on ``/dev/null``, so no other file can get its number.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
            os.set_inheritable(null, True)  # as standard streams are
    for number, name in ((1, "stdout"), (2, "stderr")):
        if not isinstance(getattr(sys, name), Output):
            setattr(sys, name, _safe(number, getattr(sys, name)))


def _safe(number: int, stream: TextIOWrapper | None) -> Output:
    if stream is None:
        output = Output(open(number, "w", closefd=False))  # noqa: SIM115
        output.lost = "it was closed at startup"
        return output
    stream.reconfigure(errors="backslashreplace")
    return Output(stream)


def why_lost() -> str | None:
    """Why printed output is lost; None while it is not."""
    return getattr(sys.stdout, "lost", None)
