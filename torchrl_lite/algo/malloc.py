"""How the C library hands out memory."""

import ctypes


def keep_freed_memory() -> None:
    """Tells glibc to keep what is freed instead of handing it back to the system.

    An update on the CPU allocates and frees the same activations again and again; without this
    each time brings page faults, a tenth of its time. Elsewhere than on glibc, nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_mmap_threshold, largest = -1, -3, 32 << 20
        mallopt(m_mmap_threshold, largest)
        mallopt(m_trim_threshold, 1 << 30)
