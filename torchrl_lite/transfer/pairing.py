"""How the tasks and the features of another run lie in ours."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from torchrl_lite.config import nearest
from torchrl_lite.errors import UserError
from torchrl_lite.policies.sources import Facts
from torchrl_lite.types import Spec


class Pairs(NamedTuple):
    """Indices here, and the index there that each corresponds to."""

    here: list[int]
    there: list[int]


class Fit(NamedTuple):
    """Which tasks correspond, and where padding puts their features.

    Features correspond where each task has as many as the one it takes over: all that differs then
    is padding. Otherwise, or where the sizes are unknown, both runs must have the same widths.
    """

    tasks: Mapping[int, int]
    """Tasks here, and the task there that each takes over."""
    tasks_here: int
    tasks_there: int
    here: tuple[int, int]
    """Widths of observations and actions: those of the largest task."""
    there: tuple[int, int]

    @classmethod
    def of(cls, spec: Spec, facts: Facts, task_map: Mapping[str, str], *, path: Path) -> "Fit":
        """
        Raises:
            UserError: ``task_map`` names a task that is not in ``path``.
        """
        tasks = pair_tasks(spec.tasks, facts.tasks, task_map, path=path)
        own, here = list(spec.shapes.values()), (spec.obs_dim, spec.act_dim)
        known = [shape for shape in facts.shapes if shape is not None]
        told = bool(tasks and known) and len(known) == len(facts.tasks)
        same = told and all(known[there] == own[task] for task, there in tasks.items())
        obs_dim, act_dim = map(max, zip(*known, strict=True)) if same else here
        count = len(facts.tasks) or spec.num_tasks
        return cls(tasks, spec.num_tasks, count, here, (obs_dim, act_dim))

    def features(self, *kinds: Literal["obs", "act"]) -> Pairs:
        """Indices of these features where they follow each other in one tensor."""
        pairs, start_here, start_there = Pairs([], []), 0, 0
        for kind in kinds:
            index = ("obs", "act").index(kind)
            here, there = self.here[index], self.there[index]
            for offset in range(min(here, there)):
                pairs.here.append(start_here + offset)
                pairs.there.append(start_there + offset)
            start_here, start_there = start_here + here, start_there + there
        return pairs


def pair_tasks(
    here: Sequence[str], there: Sequence[str], task_map: Mapping[str, str], *, path: Path
) -> dict[int, int]:
    """The index of each task here that takes one over, and the index of that one.

    Equal names pair, as do the one task here and the one there; ``task_map`` goes before both.
    Where ``there`` is empty, since a file names no tasks, it is taken to be of the same ones.

    Raises:
        UserError: ``task_map`` names a task that is not there.
    """
    if not there:
        if task_map:
            raise UserError(f"transfer.task_map: {path} names no tasks to take over")
        return {index: index for index in range(len(here))}
    for name in task_map.values():
        if name not in there:
            raise UserError(
                f"transfer.task_map: {name!r} is no task of {path}, which has "
                f"{', '.join(there)}{nearest(name, there)}"
            )
    both_single = len(here) == len(there) == 1
    names = {task: there[0] if both_single else task for task in here} | dict(task_map)
    return {
        index: there.index(names[task]) for index, task in enumerate(here) if names[task] in there
    }
