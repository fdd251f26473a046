"""Atomic writes, and reads that execute nothing."""

import os
import pickle
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from torchrl_lite.errors import CheckpointError, first_line

TEMPORARY = ".tmp"
"""Suffix of files that are still being written; their names start with a dot."""

_UMASK = os.umask(0o077)
os.umask(_UMASK)  # there is no way to only read it


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """``path`` holds either the old or the new content, even after a crash or on a full disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_UMASK)  # mkstemp lets only the owner read
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # makes the rename durable
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode()))


def save(path: Path, state: dict[str, Any]) -> None:
    """`load` reads only tensors, numbers, strings, lists and dictionaries."""
    content = BytesIO()  # torch's own error for a full disk does not name the cause
    torch.save(state, content)
    write_atomically(path, lambda file: file.write(content.getbuffer()))


def load(path: Path, content: BytesIO | None = None) -> dict[str, Any]:
    """Loads tensors to the CPU, from ``content`` instead of the file if given.

    Raises:
        CheckpointError: the file is damaged or holds Python objects.
        FileNotFoundError: it does not exist.
    """
    try:
        size = check_archive(content or path)
        if content is not None:
            content.seek(0)
        state = torch.load(content or path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except pickle.UnpicklingError:
        raise CheckpointError(f"{path}: not loaded: contains objects, or is damaged") from None
    except Exception as error:
        raise CheckpointError(f"{path}: not a readable checkpoint ({first_line(error)})") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: not a checkpoint of a run")
    for count, value in enumerate(_values(state)):
        if count > size:  # parts that contain others several times grow when they are copied
            raise CheckpointError(f"{path}: not loaded: has more values than bytes")
        if isinstance(value, Tensor) and not _is_plain(value):
            raise CheckpointError(f"{path}: not loaded: has sparse, complex or expanded tensors")
    return state


def _values(tree: Any) -> Iterator[Any]:
    """Every value as often as it occurs: endlessly if the tree contains itself."""
    todo = [tree]
    while todo:
        value = todo.pop()
        yield value
        if isinstance(value, dict | list | tuple):
            todo += value.values() if isinstance(value, dict) else value


def _is_plain(tensor: Tensor) -> bool:
    """Dense real numbers that are all in the file: an expanded tensor of a few bytes could claim
    any size."""
    if tensor.layout != torch.strided or tensor.is_complex() or tensor.is_quantized:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def check_archive(source: Path | BytesIO) -> int:
    """The size of an archive; one that unpacks to more or names files outside itself is refused.
    Neither torch nor Stable-Baselines3 compresses.

    Raises:
        ValueError, zipfile.BadZipFile: it does, or is not a zip archive.
    """
    size = source.stat().st_size if isinstance(source, Path) else source.getbuffer().nbytes
    with zipfile.ZipFile(source) as archive:
        entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError("it unpacks to more than its own size")
    for entry in entries:
        name = entry.filename
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise ValueError(f"{name!r} is outside the archive")
    return size


def remove_temporaries(folder: Path) -> None:
    """Removes the leftovers of killed writes."""
    for path in folder.glob(f".*{TEMPORARY}"):
        path.unlink()
