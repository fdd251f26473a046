"""Which tasks and features of another run correspond to ours."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from torchrl_lite.config import nearest
from torchrl_lite.errors import UserError
from torchrl_lite.policies.sources import Facts
from torchrl_lite.types import Spec


class Pairs(NamedTuple):
    """Indices in this run, and the corresponding indices in the other."""

    here: list[int]
    there: list[int]


class Fit(NamedTuple):
    """Which tasks correspond, and where padding puts their features.

    If paired tasks have the same sizes, only padding differs and their features correspond.
    Otherwise, or if sizes are unknown, both runs must have the same widths.
    """

    tasks: Mapping[int, int]
    """Index of each task in this run that has a pair, and of its pair in the other run."""
    tasks_here: int
    tasks_there: int
    here: tuple[int, int]
    """Widths of observations and actions, which are those of the largest task."""
    there: tuple[int, int]

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
        obs_dim, act_dim = map(max, zip(*known, strict=True)) if same else here
        count = len(facts.tasks) or spec.num_tasks
        return cls(tasks, spec.num_tasks, count, here, (obs_dim, act_dim))

    def features(self, *kinds: Literal["obs", "act"]) -> Pairs:
        """Indices of these features, concatenated in one tensor."""
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
