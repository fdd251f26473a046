"""Numbers that an environment reports in ``info``, over an episode."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Reported(NamedTuple):
    """One number over an episode: its mean over the steps that reported it, and the last one."""

    mean: float
    last: float


class InfoRecorder:
    """Records the named numbers of each step; `summary` works them out when the episode ends, so
    that a step costs only the look-ups."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._names = tuple(names)
        self._steps: list[list[Any]] = []

    def begin(self) -> None:
        self._steps = []

    def add(self, info: Mapping[str, Any]) -> None:
        if self._names:
            self._steps.append([info.get(name) for name in self._names])

    def summary(self) -> dict[str, Reported]:
        """By name; without the names that no step reported as a number."""
        summary = {}
        for name, values in zip(self._names, zip(*self._steps, strict=True), strict=False):
            numbers = [float(value) for value in values if isinstance(value, _NUMBERS)]
            if numbers:
                summary[name] = Reported(sum(numbers) / len(numbers), numbers[-1])
        return summary


_NUMBERS = (float, int, np.number, np.bool_)
