"""How one argument-free step on static tensors is run: eagerly, or as a CUDA graph."""

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
