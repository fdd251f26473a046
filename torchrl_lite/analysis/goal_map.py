"""Which goals of a Meta-World task a policy fails on, and where on the table they are."""

import pickle
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from numpy import ndarray
from scipy.stats import fisher_exact

from torchrl_lite.env.goals import goals

SIDES = (
    ("x", "to the robot's left", "to its right"),
    ("y", "near the robot", "far from it"),
    ("z", "low", "high"),
)
"""Meta-World's axes, in metres: the robot stands at y = 0 and looks along y."""
CHANCE = 0.01
"""Goals fail in one place if chance would put them there less often than this."""


class GoalResults(NamedTuple):
    """An episode on every goal of a task."""

    task: str
    places: Float[ndarray, "n 3"]
    successes: Bool[ndarray, " n"]
    returns: Float[ndarray, " n"]

    @property
    def failed(self) -> list[int]:
        """Goals that fail, the lowest return first."""
        order = np.argsort(self.returns, kind="stable")
        return [int(goal) for goal in order if not self.successes[goal]]


def places(task: str, seed: int, count: int) -> Float[ndarray, "n 3"]:
    """Where the goals are; for tasks without one of their own, where the object is."""
    drawn = [pickle.loads(goal.data)["rand_vec"] for goal in goals(task, seed)[:count]]
    return np.array(drawn)[:, -3:]


def where(results: GoalResults) -> str:
    """A sentence about where the failing goals are: the third of the table on one side in which
    most fail, by Fisher's exact test."""
    failed, count = len(results.failed), len(results.successes)
    if not failed:
        return f"{results.task}: none of {count} goals fails."
    begin = f"{results.task}: {failed} of {count} goals fail"
    found = []
    for axis, (name, below, above) in enumerate(SIDES):
        values = results.places[:, axis]
        low, high = np.quantile(values, [1 / 3, 2 / 3])
        if high > low:
            found += [
                (values <= low, f"{below} ({name} up to {low:.2f} m)"),
                (values >= high, f"{above} ({name} from {high:.2f} m)"),
            ]
    tested = [(_chance(results.successes, inside), inside, text) for inside, text in found]
    chance, inside, text = min(tested, key=lambda one: one[0], default=(1.0, None, ""))
    if inside is None or chance > CHANCE:
        return f"{begin}, all over the table."
    here, elsewhere = results.successes[inside].mean(), results.successes[~inside].mean()
    return f"{begin}, mostly {text}: success is {here:.2f} there and {elsewhere:.2f} elsewhere."


def _chance(successes: Bool[ndarray, " n"], inside: Bool[ndarray, " n"]) -> float:
    """How probable it is by chance that so many of the failures, or more, are inside."""
    table = [
        [int((~successes & part).sum()), int((successes & part).sum())]
        for part in (inside, ~inside)
    ]
    return float(fisher_exact(table, alternative="greater").pvalue)


def goal_map(tasks: Sequence[GoalResults]) -> Figure:
    """The table from above, with a mark for each goal: a panel for each task."""
    columns = min(len(tasks), 5)
    rows = -(-len(tasks) // columns)
    figure = Figure(figsize=(max(3.2 * columns, 4), 3.0 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for place, results in zip(grid, tasks, strict=False):
        for kind, marker, color, label in (
            (results.successes, "o", "tab:blue", "success"),
            (~results.successes, "x", "tab:red", "failure"),
        ):
            x, y, _ = results.places[kind].T
            place.scatter(x, y, marker=marker, color=color, s=24, label=label)
        place.set_title(f"{results.task}: {results.successes.mean():.2f}", fontsize="medium")
        place.set_xlabel("x (m), the robot's right")
        place.set_ylabel("y (m), away from it")
        place.margins(0.1)
        place.set_aspect("equal", adjustable="datalim")
        place.grid(visible=True, alpha=0.3)
    for place in list(grid)[len(tasks) :]:
        place.set_axis_off()
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return figure
