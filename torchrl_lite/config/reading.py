"""Files that may be another's, read only where they are files and not too large."""

import os
import stat
from pathlib import Path


class UnreadableError(OSError):
    """A file that is not read; the message says why, without the file's name."""


def read_bytes(path: Path, *, most: int) -> bytes:
    """The content of a regular file of at most ``most`` bytes.

    A device or a pipe is never read: it may have no end, or wait for a writer.

    Raises:
        UnreadableError: it is no regular file, or larger.
        OSError: it is missing or closed to the user.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would block
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableError("not a regular file")
        if status.st_size > most:
            raise UnreadableError(f"larger than {most} bytes")
        content = file.read(most + 1)
    if len(content) > most:  # it grew meanwhile
        raise UnreadableError(f"larger than {most} bytes")
    return content


def reason(error: OSError) -> str:
    """Why a file is not read, for a person."""
    return error.strerror or str(error)
