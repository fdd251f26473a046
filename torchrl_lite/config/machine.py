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


def threads() -> int:
    """`cores`, but at most ``OMP_NUM_THREADS``, which torch follows too."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # or one per level
    return min(cores(), int(first)) if first.isdecimal() and int(first) else cores()


def cpu_name(info: Path = Path("/proc/cpuinfo")) -> str:
    """With family and model, since virtual machines give CPUs of several generations one name."""
    try:
        first, _, _ = info.read_text(encoding="utf-8").partition("\n\n")  # the first core
    except OSError:
        return platform.processor() or platform.machine()
    lines = (line.partition(":") for line in first.splitlines())
    fields = {key.strip(): value.strip() for key, _, value in lines}
    name = fields.get("model name") or platform.processor() or platform.machine()
    parts = [f"{key} {fields[key]}" for key in ("cpu family", "model") if key in fields]
    return f"{name} ({', '.join(parts)})" if parts else name
