"""What a run leaves behind: processes of its session, and shared memory."""

import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torchrl_lite.checkpoint.lock import locked
from torchrl_lite.errors import BusyError

SHARED_MEMORY = Path("/dev/shm")


def session_of(leader: int) -> set[int]:
    """Living processes of a session: whatever a run started, and the run."""
    members = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:  # it ended meanwhile
            continue
        state, _parent, _group, session = text.rpartition(")")[2].split()[:4]
        if int(session) == leader and state not in "ZX":
            members.add(int(stat.parent.name))
    return members


def outlive(pids: set[int], seconds: float) -> set[int]:
    """Those that are still there after so long; returns as soon as there is none."""
    alive = set()
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        if not poll.poll(1000 * seconds):
            alive.add(pid)
        os.close(handle)
    return alive


def is_free(folder: Path) -> bool:
    """No process holds the run directory."""
    try:
        with locked(folder):
            return True
    except BusyError:
        return False


def until(true: Callable[[], Any], seconds: float = 500) -> Any:
    """The first value that holds; looks again every twentieth of a second."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := true():
            return value
        time.sleep(0.05)
    raise TimeoutError


def is_in_the_middle(folder: Path) -> bool:
    """Whether a run has a checkpoint and goes on."""
    saved = any((folder / "checkpoint").glob("last_*.json"))
    return saved and not (folder / "result.json").exists()
