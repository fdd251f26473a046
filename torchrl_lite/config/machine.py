"""What the machine has."""

import os


def cores() -> int:
    """CPU cores that this process may use; all of them if the system does not say (macOS)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
