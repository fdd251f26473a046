"""Errors that end a run or a command with one line, and their exit codes."""

from typing import NamedTuple


class RunError(RuntimeError):
    """A failure that is not a user's mistake."""

    exit_code = 1


class UserError(ValueError):
    """A user's mistake. Unprintable characters are escaped, so the message is one line."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))


class BusyError(RunError):
    """Another process holds the lock of a run; the message names the directory."""


class CheckpointError(RunError):
    """A checkpoint that cannot be read or written; the message names the file."""


class EpisodeError(RuntimeError):
    """An environment failed; the message names it, ``__cause__`` is the original error."""


class CallbackExit(SystemExit):
    """`sys.exit` in a callback: the end of the caller's script, not a failure of the run."""


class NotFiniteError(RunError):
    """A NaN or infinity; the message names the task, the frame and the quantity."""


class Failure(NamedTuple):
    """An error in a form that can be sent between processes."""

    message: str
    own_frames: str = ""
    """The part of the traceback in the user's code or another package."""
    traceback: str = ""
    """The full traceback; empty if nothing was raised."""


class WorkerError(RunError):
    """A worker failed; the message contains its traceback, or how it died."""

    def __init__(self, worker: str, failure: Failure | None = None) -> None:
        if failure is None:
            super().__init__(worker)
            return
        failure = failure._replace(message=f"{worker}: {failure.message}")
        parts = (failure.message, failure.traceback)
        super().__init__("\n\n".join(part for part in parts if part))
        self.failure = failure

    failure: Failure | None = None


class WorkerDiedError(WorkerError):
    """A worker's process died without a message."""

    process_code: int | None = None
    """Its exit code, if known."""


def is_out_of_memory(error: BaseException) -> bool:
    """torch has no exception class for it on the CPU, nor Python for a thread's stack."""
    words = (
        "CUDA out of memory",
        "DefaultCPUAllocator: can't allocate memory",
        "can't start new thread",
    )
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def in_one_line(error: Exception) -> str:
    """The whole message; without one, the name of the type."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: Exception) -> str:
    """The first line of the message; without one, the name of the type."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
