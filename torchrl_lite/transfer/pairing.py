"""Which tasks and features of another run correspond to ours."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torchrl_lite.config import nearest
from torchrl_lite.errors import UserError
from torchrl_lite.policies.sources import Facts
from torchrl_lite.types import Spec

Widths = tuple[int, int]
"""Sizes in this run and in the other."""


class Fit(NamedTuple):
    """Which tasks correspond, and the sizes of both runs.

    If paired tasks have the same sizes, only padding differs and their features correspond.
    Otherwise, or if sizes are unknown, both runs must have the same widths.
    """

    tasks: Mapping[int, int]
    """Index of each task in this run that has a pair, and of its pair in the other run."""
    num_tasks: Widths
    obs: Widths
    act: Widths

    @classmethod
    def of(cls, spec: Spec, facts: Facts, task_map: Mapping[str, str], *, path: Path) -> "Fit":
        """
        Raises:
            UserError: ``task_map`` names a task that ``path`` does not have.
        """
        tasks = pair_tasks(spec.tasks, facts.tasks, task_map, path=path)
        own, here = list(spec.shapes.values()), (spec.obs_dim, spec.act_dim)
        known = [shape for shape in facts.shapes if shape is not None]
        sizes_known = bool(tasks and known) and len(known) == len(facts.tasks)
        same = sizes_known and all(known[there] == own[task] for task, there in tasks.items())
        there = map(max, zip(*known, strict=True)) if same else here
        obs, act = zip(here, there, strict=True)
        return cls(tasks, (spec.num_tasks, len(facts.tasks) or spec.num_tasks), obs, act)


def aligned(segments: Iterable[Widths]) -> tuple[list[int], list[int]]:
    """Indices of the features that correspond, here and there, in tensors that consist of these
    segments: the first ones of each segment, as many as the narrower side has."""
    here: list[int] = []
    there: list[int] = []
    start_here = start_there = 0
    for width_here, width_there in segments:
        both = range(min(width_here, width_there))
        here += [start_here + index for index in both]
        there += [start_there + index for index in both]
        start_here, start_there = start_here + width_here, start_there + width_there
    return here, there


def pair_tasks(
    here: Sequence[str], there: Sequence[str], task_map: Mapping[str, str], *, path: Path
) -> dict[int, int]:
    """Index of each task in ``here`` that has a pair, and of its pair in ``there``.

    Equal names form a pair, and so do two single tasks; ``task_map`` takes precedence. If ``there``
    is empty because a file does not name its tasks, they are assumed to be the same.

    Raises:
        UserError: ``task_map`` names a task that is not in ``there``.
    """
    if not there:
        if task_map:
            raise UserError(f"transfer.task_map: {path} does not name its tasks; leave it empty")
        return {index: index for index in range(len(here))}
    for name in task_map.values():
        if name not in there:
            raise UserError(
                f"transfer.task_map: {name!r} is not a task of {path}, which has "
                f"{', '.join(there)}{nearest(name, there)}"
            )
    both_single = len(here) == len(there) == 1
    names = {task: there[0] if both_single else task for task in here} | dict(task_map)
    return {
        index: there.index(names[task]) for index, task in enumerate(here) if names[task] in there
    }
