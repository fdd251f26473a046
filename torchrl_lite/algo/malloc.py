"""Settings of the C library's memory allocator."""

import ctypes


def keep_freed_memory() -> None:
    """Make glibc keep freed memory instead of returning it to the system.

    A CPU update allocates and frees the same activations again and again. Without this, each
    allocation causes page faults, which take a tenth of the update. Does nothing without glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_mmap_threshold, largest = -1, -3, 32 << 20
        mallopt(m_mmap_threshold, largest)
        mallopt(m_trim_threshold, 1 << 30)
