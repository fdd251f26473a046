"""Fast inference of a frozen policy for a small group of environments."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray

from torchrl_lite.network.actor import Actor
from torchrl_lite.network.torch_settings import settings_kept
from torchrl_lite.types import Spec


@contextmanager
def exact_inference() -> Iterator[None]:
    """One thread and full precision, so that actions do not depend on the learner's settings."""
    with settings_kept():
        torch.set_num_threads(1)
        torch.set_float32_matmul_precision("highest")
        yield


class Inference:
    """A policy for a fixed number of observations, each with its own task.

    The policy is traced, with bit-identical results: for so few observations, Python's overhead is
    as large as the computation. In-place changes of the weights take effect.
    """

    def __init__(self, policy: Actor, spec: Spec, rows: int) -> None:
        self.obs = np.zeros((rows, 1, spec.obs_dim), np.float32)
        self.noise = np.zeros((rows, 1, spec.act_dim), np.float32)
        self._obs, self._noise = torch.from_numpy(self.obs), torch.from_numpy(self.noise)
        task = torch.zeros(rows, dtype=torch.int64)
        inputs = {"explore": (self._obs, task, self._noise), "act": (self._obs, task)}
        with warnings.catch_warnings():
            # Tracing is deprecated in favour of torch.compile, which needs a C++ compiler. The
            # tracer warns of branches that depend on shapes, which are fixed here.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            self._policy: Any = torch.jit.trace_module(policy, inputs, check_trace=False)

    def clear(self) -> Self:
        """Zero the inputs before their tasks change, since padding must be zero."""
        self.obs.fill(0)
        self.noise.fill(0)
        return self

    @torch.inference_mode()
    def __call__(self, task: torch.Tensor, *, explore: bool) -> Float32[ndarray, "k A"]:
        if explore:
            act = self._policy.explore(self._obs, task, self._noise)
        else:
            act = self._policy.act(self._obs, task)
        return act[:, 0].numpy()
