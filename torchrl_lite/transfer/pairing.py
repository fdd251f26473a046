"""How the tasks and the features of another run lie in ours."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torchrl_lite.config import nearest
from torchrl_lite.errors import UserError
from torchrl_lite.policies.sources import Facts
from torchrl_lite.types import Spec


class Widths(NamedTuple):
    """Features of the widest task."""

    obs: int
    act: int


class Piece(NamedTuple):
    """Neighbouring features: where they begin here and there, and how many there are."""

    here: int
    there: int
    size: int


class Fit(NamedTuple):
    """Pairs of tasks, and where padding puts their features.

    Features mean the same where each task has as many as the one it takes over: then all that
    differs is padding. Else, or where that is not known, everything has to have our size.
    """

    rows: Mapping[int, int]
    """Tasks here, and the task there that each takes over."""
    tasks_here: int
    tasks_there: int
    here: Widths
    there: Widths

    @classmethod
    def of(cls, spec: Spec, facts: Facts, task_map: Mapping[str, str], *, path: Path) -> "Fit":
        """
        Raises:
            UserError: ``task_map`` names a task that is not in ``path``.
        """
        rows = pair_tasks(spec.tasks, facts.tasks, task_map, path=path)
        own, here = list(spec.shapes.values()), Widths(spec.obs_dim, spec.act_dim)
        known = [shape for shape in facts.shapes if shape is not None]
        told = bool(rows and known) and len(known) == len(facts.tasks)
        same = told and all(known[there] == own[task] for task, there in rows.items())
        there = Widths(*map(max, zip(*known, strict=True))) if same else here
        return cls(rows, spec.num_tasks, len(facts.tasks) or spec.num_tasks, here, there)

    def along(self, *features: str) -> list[Piece]:
        """Where these lie, each ``obs`` or ``act``, when they follow each other."""
        pieces, here, there = [], 0, 0
        for feature in features:
            mine, theirs = getattr(self.here, feature), getattr(self.there, feature)
            pieces.append(Piece(here, there, min(mine, theirs)))
            here, there = here + mine, there + theirs
        return pieces


def pair_tasks(
    here: Sequence[str], there: Sequence[str], task_map: Mapping[str, str], *, path: Path
) -> dict[int, int]:
    """The number of each task here that takes one over, and the number of that one.

    Equal names pair, as do the one task here and the one there; ``task_map`` goes before both.
    Where ``there`` is empty, since a file names no tasks, it is taken to be of the same ones.

    Raises:
        UserError: ``task_map`` names a task that is not there.
    """
    if not there:
        if task_map:
            raise UserError(f"transfer.task_map: {path} names no tasks to take over")
        return {number: number for number in range(len(here))}
    for name in task_map.values():
        if name not in there:
            raise UserError(
                f"transfer.task_map: {name!r} is no task of {path}, which has "
                f"{', '.join(there)}{nearest(name, there)}"
            )
    both_single = len(here) == len(there) == 1
    names = {task: there[0] if both_single else task for task in here} | dict(task_map)
    return {
        number: there.index(names[task]) for number, task in enumerate(here) if names[task] in there
    }
