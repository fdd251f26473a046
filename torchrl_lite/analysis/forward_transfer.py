"""Forward transfer: how much faster a task is learned than from scratch.

Wolczyk et al. 2021, "Continual World" (arXiv:2105.10919): FT = (AUC - AUC_b) / (1 - AUC_b), where
AUC is the mean success while a task is trained, and AUC_b the same for training from scratch.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from torchrl_lite.analysis.runs import Run, tasks_of
from torchrl_lite.analysis.tables import as_markdown
from torchrl_lite.errors import UserError
from torchrl_lite.reporting.console import number


def area(run: Run, task: str, *, frames: int) -> float:
    """Mean success of a task over its first ``frames`` training frames, by the trapezoidal rule.

    Before the first evaluation, success is taken to equal the first one. Evaluations while the task
    is not trained have zero width, so forgetting does not count.
    """
    at, success = run.own_curve(task)
    end = np.interp(frames, at, success) if frames not in at else success[at == frames][0]
    within = at < frames
    x = np.concatenate([[0.0], at[within], [float(frames)]])
    y = np.concatenate([success[:1], success[within], [end]])
    return float(np.trapezoid(y, x) / frames)


def forward_transfer(runs: Sequence[Run], baseline: Sequence[Run], task: str) -> float | None:
    """Forward transfer over the task frames that all runs have; None for a perfect baseline.

    Both areas are means over seeds. Every run must have `trained` the task.
    """
    frames = min(trained(run, task) for run in [*runs, *baseline])
    with_it, without = (
        float(np.mean([area(run, task, frames=frames) for run in group]))
        for group in (runs, baseline)
    )
    return None if without == 1 else (with_it - without) / (1 - without)


def trained(run: Run, task: str) -> int:
    """Frames of the task at its last evaluation; 0 if not evaluated since its training began."""
    at, _ = run.own_curve(task)
    return int(at[-1]) if len(at) else 0


def table(experiments: Mapping[str, Sequence[Run]], baseline: Sequence[Run]) -> str:
    """Forward transfer of every task that the baseline trained too, as a Markdown table; a
    curriculum that has not reached a task does not count as a seed.

    Raises:
        UserError: there is no such task.
    """
    cells = []
    for label, runs in experiments.items():
        for task in tasks_of(runs):
            own, scratch = (
                [run for run in group if task in run.tasks and trained(run, task)]
                for group in (runs, baseline)
            )
            if scratch:
                value = forward_transfer(own, scratch, task) if own else None
                cells.append((label, task, str(len(own)), str(len(scratch)), number(value, ".2f")))
    if not cells:
        raise UserError("--baseline: its runs and the others have no trained task in common")
    note = "Areas under success curves are means over seeds, up to the task's frames that all have."
    header = ("experiment", "task", "seeds", "from scratch", "forward transfer")
    return f"{as_markdown(header, cells)}\n\n{note}"
