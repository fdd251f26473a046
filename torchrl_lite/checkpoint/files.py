"""Files that are written whole or not at all, and read without executing anything in them."""

import os
import pickle
import tempfile
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import torch

from torchrl_lite.errors import CheckpointError

TEMPORARY = ".tmp"
"""What the names of files that are being written end with; they begin with a dot."""


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """``path`` holds the old content or the new one, also after a crash or on a full disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode()))


def save(path: Path, state: dict[str, Any]) -> None:
    """``state`` holds tensors, numbers, strings, lists and dictionaries; nothing else loads."""
    content = BytesIO()  # torch tells of a full disk in its own way, and not why
    torch.save(state, content)
    write_atomically(path, lambda file: file.write(content.getbuffer()))


def load(path: Path, content: BytesIO | None = None) -> dict[str, Any]:
    """Tensors on the CPU. ``content`` is what is read where it is not the file itself, but a part
    of it.

    Raises:
        CheckpointError: the file is damaged or holds objects.
        FileNotFoundError: there is none.
    """
    try:
        _check_archive(content or path)
        if content is not None:
            content.seek(0)
        state = torch.load(content or path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except pickle.UnpicklingError:
        raise CheckpointError(f"{path}: holds more than data, or is damaged; not loaded") from None
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: not a readable checkpoint ({reason})") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: not a checkpoint of a run")
    return state


def _check_archive(source: Path | BytesIO) -> None:
    """An archive may neither unpack to more than it is nor name files outside itself.

    Raises:
        ValueError, zipfile.BadZipFile: it does, or it is none.
    """
    size = source.stat().st_size if isinstance(source, Path) else source.getbuffer().nbytes
    with zipfile.ZipFile(source) as archive:
        entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError("it claims to hold more than its own size")
    for entry in entries:
        if entry.filename.startswith("/") or ".." in entry.filename.split("/"):
            raise ValueError(f"it names {entry.filename!r}")


def remove_temporaries(folder: Path) -> None:
    """Removes what killed writes left behind."""
    for path in folder.glob(f".*{TEMPORARY}"):
        path.unlink()
