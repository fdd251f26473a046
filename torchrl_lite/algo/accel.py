"""Update modes: eager, compiled, or a CUDA graph."""

import importlib
import os
import shutil
import warnings
from collections.abc import Callable, Hashable
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from torchrl_lite.errors import UserError
from torchrl_lite.types import Noise

_LATE = ("torch._dynamo", "torch.utils.serialization.config")
_COMPILER = ("torch._inductor.compile_fx",)


def check(mode: str, device: torch.device) -> None:
    """Raise UserError if the mode cannot run on this device."""
    if mode == "graph" and device.type == "cpu":
        raise UserError("system.accel: a CUDA graph needs a CUDA device")
    if mode == "compile":
        compilers = _compilers(device)
        if not any(map(shutil.which, compilers)):
            raise UserError(
                f"system.accel: compile needs a compiler, but {' and '.join(compilers)} "
                f"{'is' if len(compilers) == 1 else 'are'} missing"
            )


def _compilers(device: torch.device) -> list[str]:
    """Those one of which torch's compiler calls: for C++ on a CPU, for C (from Triton) on a GPU."""
    if device.type == "cpu":
        return [os.environ.get("CXX", "g++")]
    return [os.environ["CC"]] if "CC" in os.environ else ["gcc", "clang"]


def prepare(mode: str) -> None:
    """Import now what torch would import during training, where a signal that interrupts an import
    would surface as another error."""
    for name in (*_LATE, *(_COMPILER if mode == "compile" else ())):
        importlib.import_module(name)
    if mode == "compile":  # it compiles for each stage of a curriculum, and gives up at this number
        dynamo: Any = importlib.import_module("torch._dynamo.config")
        dynamo.recompile_limit = 256


class StaticInputs:
    """The same tensors for the same tasks and batch size, as a captured graph requires."""

    def __init__(self, act_dim: int, device: torch.device) -> None:
        self._act_dim, self._device = act_dim, device
        self._made: dict[tuple[tuple[int, ...], int], tuple[Int[Tensor, " T"], Noise]] = {}

    def __call__(self, tasks: tuple[int, ...], batch_size: int) -> tuple[Int[Tensor, " T"], Noise]:
        """The tasks, and noise to fill."""
        key = tasks, batch_size
        if key not in self._made:
            rows = len(tasks)
            noise = Noise(
                pick=torch.empty(rows, batch_size, dtype=torch.float64, device=self._device),
                act=torch.empty(2, rows, batch_size, self._act_dim, device=self._device),
            )
            self._made[key] = torch.tensor(tasks, device=self._device), noise
        return self._made[key]


class Stepper:
    """Runs a step that reads and writes the same tensors every time.

    ``eager`` is the reference. In mode ``compile`` the update inside the step is already compiled.
    ``graph`` runs the first calls of each key eagerly on a side stream (for allocations and lazy
    initialisation), captures the next call and replays it from then on. In every mode, each call
    is exactly one real step. A key must contain every object that the step works on; this keeps
    the objects alive as long as their graph. Warm-ups and captures share one stream, since cuBLAS
    keeps a workspace for each.
    """

    WARM_UP = 3

    def __init__(self, mode: str, device: torch.device) -> None:
        self.mode, self._device = mode, device
        self._calls: dict[Hashable, int] = {}
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}
        self._side = torch.cuda.Stream(device) if mode == "graph" else None

    def forget(self) -> None:
        """Drop all graphs: tensors that they work on were replaced."""
        self._calls.clear()
        self._graphs.clear()

    def __call__(self, key: Hashable, step: Callable[[], None]) -> None:
        if self.mode != "graph":
            step()
            return
        assert self._side is not None
        with torch.cuda.device(self._device):  # streams belong to the current device
            self._graph_step(key, step, self._side)

    def _graph_step(self, key: Hashable, step: Callable[[], None], side: torch.cuda.Stream) -> None:
        if key in self._graphs:
            self._graphs[key].replay()
        elif self._calls.setdefault(key, 0) < self.WARM_UP:
            self._calls[key] += 1
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side), warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*capturable=True")  # not captured yet
                step()
            torch.cuda.current_stream().wait_stream(side)
        else:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=side):
                step()
            graph.replay()
            self._graphs[key] = graph
