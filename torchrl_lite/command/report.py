"""Reports an environment's failure: the stack frames of its author's code, and one line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from torchrl_lite.checkpoint.files import write_atomically, write_text
from torchrl_lite.checkpoint.traces import NOT_FINITE, TRACEBACK
from torchrl_lite.collector.failure import failure_of
from torchrl_lite.errors import (
    CallbackExit,
    EpisodeError,
    Failure,
    NotFiniteError,
    RunError,
    WorkerError,
)


@contextmanager
def telling(folder: Path | None = None) -> Iterator[None]:
    """Turns an environment's failure into a reported `RunError`, and stores which value was not
    finite; ``folder``: the run directory.

    Raises:
        RunError: an environment failed, here or in a worker, or foreign code called `sys.exit`.
    """
    try:
        yield
    except EpisodeError as error:
        failure = failure_of(error)
    except CallbackExit:
        raise
    except SystemExit as error:
        failure = failure_of(error)._replace(message=f"sys.exit({error.code!r}) was called")
    except WorkerError as error:
        if error.failure is None:
            raise
        failure = error.failure
    except NotFiniteError as error:
        if folder is not None and folder.is_dir():
            with suppress(OSError):  # a full disk must not hide the error
                write_text(folder / NOT_FINITE, f"{error}\n")
        raise
    else:
        return
    raise _reported(failure, folder) from None


def _reported(failure: Failure, folder: Path | None) -> RunError:
    """Prints the frames, stores the traceback, and returns an error with the remaining line."""
    line = " ".join(failure.message.split())
    if failure.own_frames:
        print(failure.own_frames, file=sys.stderr)
    if not failure.traceback or folder is None or not folder.is_dir():
        return RunError(line)
    path = folder / TRACEBACK
    try:
        text = failure.traceback.encode(errors="backslashreplace")  # file names may be no UTF-8
        write_atomically(path, lambda file: file.write(text + b"\n"))
    except OSError:
        print(failure.traceback, file=sys.stderr)
        return RunError(line)
    return RunError(f"{line} (full traceback in {path})")
