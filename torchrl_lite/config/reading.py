"""Reads untrusted files, only regular ones of limited size, and explains their errors."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError


class UnreadableError(OSError):
    """A file was refused; the message says why, without the file's name."""


def open_regular(path: Path) -> BinaryIO:
    """A regular file, opened for reading.

    A device or pipe is never read: it may be endless, or block until there is a writer.

    Raises:
        UnreadableError: it is not a regular file.
        OSError: it is missing, or the user may not read it.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would block
    file = os.fdopen(handle, "rb")  # refuses a directory
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        file.close()
        raise UnreadableError("not a regular file")
    return file


def read_bytes(path: Path, *, most: int) -> bytes:
    """The content of a regular file of at most ``most`` bytes.

    Raises:
        UnreadableError: it is not a regular file, or larger.
        OSError: it is missing, or the user may not read it.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise UnreadableError(f"larger than {most} bytes")
        content = file.read(most + 1)
    if len(content) > most:  # it has grown since
        raise UnreadableError(f"larger than {most} bytes")
    return content


def why_invalid(error: ValidationError) -> str:
    """The first error, with the place of the value."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]


def reason(error: OSError) -> str:
    """The cause of an error, as readable text."""
    return error.strerror or str(error)
