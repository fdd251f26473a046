"""What is printed of an environment's failure: its author's own frames and one line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torchrl_lite.checkpoint.files import write_text
from torchrl_lite.collector.failure import failure_of
from torchrl_lite.errors import EpisodeError, Failure, RunError, WorkerError

TRACEBACK = "error.txt"
"""In a run directory: the whole traceback of what ended the run."""


@contextmanager
def telling(folder: Path | None = None) -> Iterator[None]:
    """Around the work on a run directory, where there is one.

    Raises:
        RunError: an environment failed, here or in a worker, or foreign code called `sys.exit`.
    """
    try:
        yield
    except EpisodeError as error:
        failure = failure_of(error)
    except SystemExit as error:
        failure = failure_of(error)._replace(message=f"sys.exit({error.code!r}) was called")
    except WorkerError as error:
        if error.failure is None:
            raise
        failure = error.failure
    else:
        return
    raise _told(failure, folder) from None


def _told(failure: Failure, folder: Path | None) -> RunError:
    """Prints the frames, stores the traceback, and returns the line that is left to say."""
    line = " ".join(failure.message.split())
    if failure.own_frames:
        print(failure.own_frames, file=sys.stderr)
    if not failure.traceback or folder is None or not folder.is_dir():
        return RunError(line)
    path = folder / TRACEBACK
    try:
        write_text(path, failure.traceback + "\n")
    except OSError:
        print(failure.traceback, file=sys.stderr)
        return RunError(line)
    return RunError(f"{line} (the whole traceback is in {path})")
