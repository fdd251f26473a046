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
    """Live processes of a session: a run and everything it started."""
    members = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:  # it has ended
            continue
        state, _parent, _group, session = text.rpartition(")")[2].split()[:4]
        if int(session) == leader and state not in "ZX":
            members.add(int(stat.parent.name))
    return members


def still_alive(pids: set[int], seconds: float) -> set[int]:
    """The processes still alive after so many seconds; returns early once all have ended."""
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
    """Whether no process holds the lock of the run directory."""
    try:
        with locked(folder):
            return True
    except BusyError:
        return False


def wait_for(condition: Callable[[], Any], seconds: float = 500) -> Any:
    """Polls ``condition`` until it returns a true value, and returns that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise TimeoutError


def is_midway(folder: Path) -> bool:
    """Whether a run has a checkpoint, but no result yet."""
    saved = any((folder / "checkpoint").glob("last_*.json"))
    return saved and not (folder / "result.json").exists()
