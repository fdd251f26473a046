"""How one argument-free step on static tensors is run: eagerly, or as a CUDA graph."""

import ctypes
from collections.abc import Callable, Hashable

import torch


class Stepper:
    """Calls a step that reads and writes the same tensors every time.

    ``eager`` is the reference. ``graph`` runs the first calls of each key eagerly on a side stream
    (allocations and lazy initialisation happen there), captures the next one and replays it ever
    after. Every call is exactly one real step in either mode.
    """

    WARM_UP = 3

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self._calls: dict[Hashable, int] = {}
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}

    def __call__(self, key: Hashable, step: Callable[[], None]) -> None:
        if self.mode == "eager":
            step()
        elif key in self._graphs:
            self._graphs[key].replay()
        elif self._calls.setdefault(key, 0) < self.WARM_UP:
            self._calls[key] += 1
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                step()
            torch.cuda.current_stream().wait_stream(side)
        else:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                step()
            graph.replay()
            self._graphs[key] = graph


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
