"""Standard streams that never end a run: what nobody can read is dropped."""

import os
import sys
from io import TextIOWrapper
from typing import Any


class Output:
    """A text stream whose failure is remembered instead of raised.

    After it, the file descriptor leads to ``/dev/null``, for other libraries and child processes.
    """

    def __init__(self, stream: TextIOWrapper) -> None:
        self._stream = stream
        self.lost: str | None = None
        """Why nothing is written any more."""

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError) as error:  # a ValueError where it is closed
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        self.lost = self.lost or getattr(error, "strerror", None) or str(error)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def make_safe() -> None:
    """For ``stdout`` and ``stderr`` of this process. Characters that their encoding lacks are
    escaped; a descriptor that was closed leads to ``/dev/null``, so that no file gets its number.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            os.set_inheritable(null, True)  # as standard streams are
    for number, name in ((1, "stdout"), (2, "stderr")):
        if not isinstance(getattr(sys, name), Output):
            setattr(sys, name, _safe(number, getattr(sys, name)))


def _safe(number: int, stream: TextIOWrapper | None) -> Output:
    if stream is None:
        output = Output(open(number, "w", closefd=False))  # noqa: SIM115
        output.lost = "it was closed at the start"
        return output
    stream.reconfigure(errors="backslashreplace")
    return Output(stream)


def why_lost() -> str | None:
    """Why nothing that is printed arrives any more; None as long as it does."""
    return getattr(sys.stdout, "lost", None)
