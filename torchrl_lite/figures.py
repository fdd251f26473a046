"""Learning curves and the table of final results."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from numpy import ndarray

from torchrl_lite.results import Axis, Metric, Run, tasks_of
from torchrl_lite.statistics import Estimate, interquartile_mean

LABELS = {
    "success": "success rate",
    "return": "return of an episode",
    "frames": "environment frames",
    "hours": "wall time (hours)",
}
# Told apart without colour too: by lightness, by dashes and by markers.
STYLES = [("-", "o"), ("--", "s"), (":", "^"), ("-.", "D")]
POINTS = 60
"""Where curves over wall time, which have no points in common, are compared."""


class Curve(NamedTuple):
    x: Float[ndarray, " N"]
    estimates: list[Estimate]


def aggregate(runs: Sequence[Run], tasks: Sequence[str], *, metric: Metric, axis: Axis) -> Curve:
    """The interquartile mean over tasks and seeds, as far as the shortest run goes."""
    by_task = [
        [run.curve(task, metric=metric, axis=axis) for run in runs if task in run.tasks]
        for task in tasks
    ]
    curves = [curve for group in by_task for curve in group]
    if not curves or any(len(x) == 0 for x, _ in curves):
        return Curve(np.empty(0), [])
    if axis == "frames":
        x = np.array(sorted(set.intersection(*(set(x) for x, _ in curves))))
    else:
        start, end = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
        x = np.linspace(start, end, POINTS) if end > start else np.empty(0)
    values = [np.array([np.interp(x, *curve) for curve in group]) for group in by_task]
    estimates = [
        interquartile_mean([group[:, index] for group in values]) for index in range(len(x))
    ]
    return Curve(x, estimates)


def _draw(axes: Axes, curve: Curve, *, label: str, index: int, count: int) -> None:
    line, marker = STYLES[index % len(STYLES)]
    color = matplotlib.colormaps["cividis"](0.15 + 0.7 * index / max(count - 1, 1))
    axes.plot(
        curve.x,
        [estimate.value for estimate in curve.estimates],
        linestyle=line, marker=marker, markevery=0.1, markersize=4, color=color, label=label,
    )  # fmt: skip
    known = [
        (x, e.low, e.high)
        for x, e in zip(curve.x, curve.estimates, strict=True)
        if e.low is not None
    ]
    if known:
        x, low, high = zip(*known, strict=True)
        axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)


def learning_curves(
    experiments: Mapping[str, Sequence[Run]], *, metric: Metric = "success", axis: Axis = "frames"
) -> Figure:
    """A panel per task, and one for all of them together where there are several.

    Lines are interquartile means over seeds, bands 95 % intervals by a stratified bootstrap.
    """
    tasks = tasks_of(run for runs in experiments.values() for run in runs)
    panels = [(task, [task]) for task in tasks]
    if len(tasks) > 1:
        panels.append((f"all {len(tasks)} tasks", tasks))
    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.4 * columns, 2.7 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=metric == "success")
    for place, panel in zip(grid.flat, panels, strict=False):
        title, of_panel = panel
        for index, (label, runs) in enumerate(experiments.items()):
            if set(of_panel) <= set(tasks_of(runs)):
                curve = aggregate(runs, of_panel, metric=metric, axis=axis)
                _draw(place, curve, label=label, index=index, count=len(experiments))
        place.set_title(title, fontsize="medium")
        place.set_xlabel(LABELS[axis])
        if axis == "frames":
            place.xaxis.set_major_formatter(EngFormatter(sep=""))
        place.set_ylabel(LABELS[metric])
        if metric == "success":
            place.set_ylim(-0.03, 1.03)
        place.grid(visible=True, alpha=0.3)
    for place in list(grid.flat)[len(panels) :]:
        place.set_axis_off()
    lines = {line.get_label(): line for place in grid.flat for line in place.get_lines()}
    figure.legend(lines.values(), lines, loc="outside upper center", ncols=min(len(lines), 4))
    return figure


def table(experiments: Mapping[str, Sequence[Run]]) -> str:
    """Final results in Markdown: interquartile means over seeds with 95 % intervals."""
    lines = [
        "| experiment | task | seeds | frames | success | return |",
        "|---|---|---|---|---|---|",
    ]
    for label, runs in experiments.items():
        finished = [run for run in runs if run.result]
        for task in tasks_of(finished):
            results = [run.result for run in finished if task in run.tasks and run.result]
            cells = [
                _cell([result.get(f"eval_{metric}/{task}") for result in results], digits)
                for metric, digits in (("success", 2), ("return", 1))
            ]
            frames = " / ".join(sorted({f"{result['frames']:,}" for result in results}))
            lines.append(f"| {label} | {task} | {len(results)} | {frames} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: Sequence[float | None], digits: int) -> str:
    known = np.array([value for value in values if value is not None], dtype=float)
    if len(known) == 0:
        return "-"
    value, low, high = interquartile_mean([known])
    interval = "" if low is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{interval}"
