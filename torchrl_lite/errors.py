"""What ends a run or a command with one line, and the exit code that goes with it."""

from typing import NamedTuple


class RunError(RuntimeError):
    """Something went wrong that the user did not ask for; the message is for a person."""

    exit_code = 1


class UserError(ValueError):
    """A user's mistake, in one line whatever it quotes."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))


class BusyError(RunError):
    """Another process holds the lock of a run; the message names the directory."""


class CheckpointError(RunError):
    """A checkpoint that cannot be read or written; the message names the file."""


class EpisodeError(RuntimeError):
    """An environment failed; the message names it, its cause has what its author needs."""


class NotFiniteError(RunError):
    """A NaN or an infinity; the message names the task, the frame and the quantity."""


class Failure(NamedTuple):
    """An error as it travels between processes."""

    message: str
    own_frames: str = ""
    """The part of the traceback that is the user's code, or another package's."""
    traceback: str = ""
    """All of it; empty where nothing was raised."""


class WorkerError(RunError):
    """A worker failed; the message has its traceback, or how it died."""

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
    """A worker's process is gone and left no message."""
