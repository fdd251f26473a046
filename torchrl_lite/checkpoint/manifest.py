"""Manifests: ``last_<epoch>.json`` lists the size and SHA-256 of every file of a checkpoint."""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torchrl_lite.config.reading import read_bytes, reason
from torchrl_lite.errors import CheckpointError

OURS = re.compile(r"last_(\d+)\.(pt|rows|json)")
"""The names of a checkpoint's files."""
MAX_BYTES = 2**24
"""Maximum size of a manifest, which has about a hundred bytes for each file."""


def epochs_in(folder: Path) -> list[int]:
    """Epochs that have a manifest, valid or not, newest first."""
    found = [OURS.fullmatch(path.name) for path in folder.glob("last_*.json")]
    return sorted((int(match[1]) for match in found if match), reverse=True)


def without_manifest(folder: Path, *, behind: int) -> Iterator[str]:
    """A line for each checkpoint after epoch ``behind`` that has files but no manifest."""
    epochs: dict[int, list[str]] = defaultdict(list)
    for path in sorted(folder.glob("last_*")):
        if match := OURS.fullmatch(path.name):
            epochs[int(match[1])].append(path.name)
    for epoch, names in sorted(epochs.items(), reverse=True):
        manifest = f"last_{epoch}.json"
        if epoch > behind and manifest not in names:
            yield (
                f"{folder / names[0]}: {manifest} is missing (the save was interrupted, or the "
                "file is lost)"
            )


def read_manifest(path: Path) -> dict[str, dict[str, Any]]:
    try:
        tree = json.loads(read_bytes(path, most=MAX_BYTES))
        files = tree["files"]
        good = tree["sha256"] == digest_of(files) and all(
            OURS.fullmatch(name)  # names no file outside the folder
            and type(entry["bytes"]) is int
            and type(entry["sha256"]) is str
            for name, entry in files.items()
        )
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({reason(error)})") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        good = False
    if not good:
        raise CheckpointError(f"{path}: damaged")
    return files


def digest_of(files: dict[str, dict[str, Any]]) -> str:
    """SHA-256 of a manifest's own content."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def check_file(path: Path, entry: dict[str, Any]) -> None:
    try:
        size = path.stat().st_size
        if size != entry["bytes"]:
            raise CheckpointError(f"{path}: has {size} of its {entry['bytes']} bytes")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    if digest != entry["sha256"]:
        raise CheckpointError(f"{path}: damaged (checksum mismatch)")
