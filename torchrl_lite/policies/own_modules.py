"""Which modules a run directory may import without asking: the user's own, unchanged.

A run records the file and the SHA-256 of every module in ``env.imports`` that is one file, its own
directory and the user. A module is the user's own if all of this still holds, and module and
directory belong to the current user. A directory is told by its inode number as well, which no
archive can bring along.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchrl_lite.checkpoint.files import write_text
from torchrl_lite.config import parse_json
from torchrl_lite.config.reading import read_bytes
from torchrl_lite.env.imports import module_file

NAME = "imports.json"
MAX_BYTES = 2**26
"""Maximum size of a module."""


def record_modules(folder: Path, names: Sequence[str]) -> None:
    """Writes what this run imports to its directory.

    Raises:
        OSError: it cannot be written.
    """
    known = {name: _facts(folder, name) for name in names}
    write_text(folder / NAME, json.dumps(known, indent=2) + "\n")


def foreign_modules(folder: Path, names: Sequence[str]) -> list[str]:
    """Those of the modules that are not the user's own, each with the reason; runs none of them."""
    try:
        known: Any = parse_json(read_bytes(folder / NAME, most=MAX_BYTES).decode())
    except (OSError, ValueError, RecursionError):
        known = None
    known = known if isinstance(known, dict) else {}
    reasons = {name: _reason(known.get(name), _facts(folder, name)) for name in names}
    return [f"{name} ({reason})" for name, reason in reasons.items() if reason]


def _reason(then: Any, now: dict[str, Any] | None) -> str:
    """Why a module is not the user's own; empty if it is."""
    if now is None:
        return "no single file of yours from this directory"
    if now == then:
        return ""
    if not isinstance(then, dict):
        return "not recorded by the run"
    if then.get("sha256") != now["sha256"]:
        return "changed since the run"
    return "another file" if then.get("file") != now["file"] else "of a run from elsewhere"


def _facts(folder: Path, name: str) -> dict[str, Any] | None:
    """What must not change; None if there is no such file, or it is another user's."""
    file, user = module_file(name), os.getuid()
    if file is None:
        return None
    try:
        if not file.stat().st_uid == folder.stat().st_uid == user:
            return None
        digest = hashlib.sha256(read_bytes(file, most=MAX_BYTES)).hexdigest()
        run = f"{folder.resolve()}:{folder.stat().st_ino}"
    except (OSError, ValueError):
        return None
    return {"file": str(file), "sha256": digest, "run": run, "user": user}
