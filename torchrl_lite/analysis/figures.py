"""Learning curves."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from numpy import ndarray

from torchrl_lite.analysis.runs import AXES, Axis, Run, by_seed, tasks_of
from torchrl_lite.analysis.statistics import Estimate, over_seeds

LABELS = {
    "success": "success rate",
    "return": "episode return",
    "frames": "environment frames",
    "updates": "updates",
    "hours": "wall time (hours)",
    "core_hours": "core hours",
}
# Twenty combinations of these differ. Few experiments differ without colour too.
STYLES = [("-", "o"), ("--", "s"), (":", "^"), ("-.", "D")]
COLORS = matplotlib.color_sequences["petroff10"]
"""Told apart by the colour-blind (Petroff 2021, arXiv:2107.02270)."""
MOST_POINTS = 1000
"""Points of a curve; more cannot be told apart."""
POINTS = 60
"""Of an interpolated curve, and the maximum of marks on any."""


class Curve(NamedTuple):
    """A curve with ``N`` points and ``S`` seeds."""

    x: Float[ndarray, " N"]
    seeds: Float[ndarray, "S N"]
    """Means over tasks, per seed."""
    estimates: list[Estimate]
    interpolated: bool = False
    """Whether seeds have no common x values, as over wall time."""


def aggregate(
    runs: Sequence[Run], tasks: Sequence[str], *, metric: str, axis: Axis, smooth: int = 1
) -> Curve:
    """The mean over tasks, averaged over the seeds that have all tasks, up to the end of the
    shortest run. Runs without a value are left out. ``smooth``: each point is the mean of so many
    of a seed's latest."""
    seeds = []
    for group in by_seed(runs).values():
        curves = [
            [run.curve(task, metric=metric, axis=axis) for run in group if task in run.tasks]
            for task in tasks
        ]
        known = [[curve for curve in of_task if len(curve[0])] for of_task in curves]
        if all(known):
            seeds.append(known)
    if not seeds:
        return Curve(np.empty(0), np.empty((0, 0)), [])
    points = [curve[0] for seed in seeds for of_task in seed for curve in of_task]
    x = np.array(sorted(set.intersection(*(set(x) for x in points))))
    shared = all(len(of_task) == len(x) for of_task in points)
    interpolated = not (shared if AXES[axis].adds_up else len(x))
    if interpolated:
        start, end = max(x[0] for x in points), min(x[-1] for x in points)
        x = np.unique(np.linspace(start, end, POINTS)) if end >= start else np.empty(0)
    values = np.array(
        [
            np.mean(
                [np.mean([np.interp(x, *curve) for curve in of_task], 0) for of_task in seed], 0
            )
            for seed in seeds
        ]
    )
    values = _smoothed(values, smooth)
    if len(x) > MOST_POINTS:  # a column of every epoch
        some = np.linspace(0, len(x) - 1, MOST_POINTS).astype(int)
        x, values = x[some], values[:, some]
    return Curve(x, values, [over_seeds(column) for column in values.T], interpolated)


def _smoothed(values: Float[ndarray, "S N"], latest: int) -> Float[ndarray, "S N"]:
    """Means over so many of the latest points, of fewer at the start."""
    sums = np.cumsum(np.pad(values, ((0, 0), (1, 0))), axis=1)
    ends = np.arange(1, values.shape[1] + 1)
    starts = np.maximum(ends - latest, 0)
    return values if latest == 1 else (sums[:, ends] - sums[:, starts]) / (ends - starts)


def _draw(axes: Axes, curve: Curve, *, label: str, index: int, markers: bool, dots: bool) -> None:
    """A line with its confidence band; with too few seeds for one, each seed as ``dots``."""
    every = max(1, len(curve.x) // POINTS)
    line, marker = STYLES[index % len(STYLES)]
    color = COLORS[index % len(COLORS)]
    axes.plot(
        curve.x,
        [estimate.value for estimate in curve.estimates],
        linestyle=line, marker=marker if markers and not curve.interpolated else None,
        markersize=3, color=color, label=label, markevery=every,
    )  # fmt: skip
    known = [
        (x, e.low, e.high)
        for x, e in zip(curve.x, curve.estimates, strict=True)
        if e.low is not None
    ]
    if known:
        x, low, high = zip(*known, strict=True)
        axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
    elif len(curve.seeds) > 1 and dots:
        for seed in curve.seeds:
            axes.scatter(curve.x[::every], seed[::every], s=3, color=color, alpha=0.5, linewidth=0)


def learning_curves(
    experiments: Mapping[str, Sequence[Run]],
    *,
    metric: str = "success",
    axis: Axis = "frames",
    smooth: int = 1,
    markers: bool = True,
) -> Figure:
    """One panel per task and, for several tasks, one for their mean; one in all for a column that
    several tasks share.

    Seeds are averaged by `statistics.over_seeds`; ``smooth`` as for `aggregate`; ``markers`` are at
    evaluations and, for few seeds, dots of the single runs. Without any value the figure has no
    axes.
    """
    everything = [run for runs in experiments.values() for run in runs]
    tasks = tasks_of(everything)
    titles = {task: [task] for task in tasks}
    if any(len(run.tasks) > 1 and metric in run.log.columns for run in everything):
        titles = {f"all {len(tasks)} tasks": tasks}
    elif len(tasks) > 1:
        titles[f"mean of {len(tasks)} tasks"] = tasks
    at_evaluations = metric.startswith(("success", "return", "eval"))
    panels = {}
    for title, of_panel in titles.items():
        curves = {
            label: aggregate(runs, of_panel, metric=metric, axis=axis, smooth=smooth)
            for label, runs in experiments.items()
        }
        if any(len(curve.x) for curve in curves.values()):
            panels[title] = curves
    if not panels:
        return Figure()
    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    legend = 0.24 * -(-len(experiments) // columns)  # height in inches
    figure = Figure(figsize=(max(3.4 * columns, 5), 2.7 * rows + legend), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=metric == "success")
    for place, (title, curves) in zip(grid.flat, panels.items(), strict=False):
        for index, (label, curve) in enumerate(curves.items()):
            if len(curve.x):
                marked = markers and at_evaluations
                _draw(place, curve, label=label, index=index, markers=marked, dots=markers)
        place.set_title(title, fontsize="medium")
        place.set_xlabel(LABELS[axis])
        if not AXES[axis].adds_up:
            place.xaxis.set_major_formatter(EngFormatter(sep=""))
        place.set_ylabel(LABELS.get(metric, metric))
        if metric == "success":
            place.set_ylim(-0.03, 1.03)
        place.grid(visible=True, alpha=0.3)
    for place in list(grid.flat)[len(panels) :]:
        place.set_axis_off()
    lines = {line.get_label(): line for place in grid.flat for line in place.get_lines()}
    figure.legend(lines.values(), lines, loc="outside upper center", ncols=columns)
    return figure
