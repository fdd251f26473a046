"""One process at a time in a run directory."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torchrl_lite.errors import BusyError

try:
    import fcntl
except ImportError:
    raise ImportError("torchrl_lite needs Linux; on Windows, use WSL 2") from None


@contextmanager
def locked(folder: Path) -> Iterator[Callable[[], bool]]:
    """Holds ``folder`` for this process; gives a function that tells whether it is still there.

    The lock (``flock``) is on the directory itself and belongs to the process. It leaves no file,
    the kernel releases it however the process ends, and child processes do not inherit it. If the
    directory is moved, another process can lock a new one at its path.

    Raises:
        BusyError: another process holds it.
        OSError: the directory cannot be opened, or its file system cannot lock.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)

    def is_there() -> bool:
        try:
            return os.path.samestat(os.fstat(handle), folder.stat())
        except (FileNotFoundError, NotADirectoryError):
            return False

    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"{folder}: another process is working on this run") from None
        yield is_there
    finally:
        os.close(handle)
