"""Means of what updates measure, without reading anything back from the device in between."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from torchrl_lite.types import Spec


class Metrics:
    """Sums and counts of each metric for each task, on the learner's device."""

    def __init__(
        self, names: Sequence[str], spec: Spec, *, shared: Sequence[str], device: torch.device
    ) -> None:
        """``shared``: metrics with one value for all tasks."""
        self._names, self._tasks = tuple(names), spec.tasks
        self._per_task = set(names) - set(shared) if spec.num_tasks > 1 else set()
        self._totals = torch.zeros(len(self._names), spec.num_tasks, device=device)
        self._counts = torch.zeros_like(self._totals)

    def add(self, measured: dict[str, Tensor], task: Int[Tensor, " T"]) -> None:
        """One value per task in ``task`` for each metric; those not ``measured`` do not count.

        Raises:
            ValueError: a metric is unknown, or has another shape.
        """
        for name, value in measured.items():
            if name not in self._names:
                raise ValueError(f"metric {name!r} is not in METRICS: {', '.join(self._names)}")
            if value.shape != task.shape:
                raise ValueError(
                    f"metric {name!r} has shape {list(value.shape)}, not one value per task"
                )
        zero = torch.zeros(len(task), device=self._totals.device)
        one = torch.ones_like(zero)
        values = torch.stack([measured.get(name, zero) for name in self._names])
        counts = torch.stack([one if name in measured else zero for name in self._names])
        self._totals.index_add_(1, task, values)
        self._counts.index_add_(1, task, counts)

    def flush(self) -> dict[str, float]:
        """Means since the last flush, over tasks and per task; empty if there was no update."""
        totals, counts = torch.stack((self._totals, self._counts)).cpu()
        self._totals.zero_()
        self._counts.zero_()
        result = {}
        for name, row, measured in zip(self._names, totals / counts, counts > 0, strict=True):
            if measured.any():
                result[f"train/{name}"] = float(row[measured].mean())
            for task in measured.nonzero()[:, 0].tolist() if name in self._per_task else ():
                result[f"train_{name}/{self._tasks[task]}"] = float(row[task])
        return result

    @property
    def columns(self) -> list[str]:
        """Every name that `flush` can return, in order."""
        return [
            full
            for name in self._names
            for full in (
                f"train/{name}",
                *(f"train_{name}/{task}" for task in self._tasks if name in self._per_task),
            )
        ]
