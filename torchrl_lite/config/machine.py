"""What the machine has."""

import os
import platform
from pathlib import Path


def cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """CPU cores that this process may use; all of them if the system does not say (macOS).

    ``quota``: the file with the limit of a container (Linux, cgroup v2).
    """
    allowed = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    try:
        microseconds, period = map(int, quota.read_text().split())
    except (OSError, ValueError):  # no such file, or "max": no limit
        return allowed
    return max(1, min(allowed, -(-microseconds // period)))


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
