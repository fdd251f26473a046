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

from torchrl_lite.analysis.runs import AXES, Axis, Metric, Run, tasks_of
from torchrl_lite.analysis.statistics import Estimate, interquartile_mean

LABELS = {
    "success": "success rate",
    "return": "return of an episode",
    "frames": "environment frames",
    "updates": "updates",
    "hours": "wall time (hours)",
    "core_hours": "core hours",
}
# Told apart without colour too: by lightness, by dashes and by markers.
STYLES = [("-", "o"), ("--", "s"), (":", "^"), ("-.", "D")]
POINTS = 60
"""Where curves without points in common, such as those over wall time, are compared."""


class Curve(NamedTuple):
    x: Float[ndarray, " N"]
    estimates: list[Estimate]


def aggregate(runs: Sequence[Run], tasks: Sequence[str], *, metric: Metric, axis: Axis) -> Curve:
    """The interquartile mean over tasks and seeds, as far as the shortest run goes.

    Runs without an evaluation are left out; there is no curve where a task has no other.
    """
    by_task = [
        [
            curve
            for run in runs
            if task in run.tasks and len((curve := run.curve(task, metric=metric, axis=axis))[0])
        ]
        for task in tasks
    ]
    if not all(by_task):
        return Curve(np.empty(0), [])
    curves = [curve for group in by_task for curve in group]
    x = np.array(sorted(set.intersection(*(set(x) for x, _ in curves))))
    if AXES[axis].adds_up or not len(x):
        start, end = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
        x = np.unique(np.linspace(start, end, POINTS)) if end >= start else np.empty(0)
    values = [np.array([np.interp(x, *curve) for curve in group]) for group in by_task]
    estimates = [
        interquartile_mean([group[:, index] for group in values]) for index in range(len(x))
    ]
    return Curve(x, estimates)


def _draw(axes: Axes, curve: Curve, *, label: str, index: int, count: int) -> None:
    line, marker = STYLES[index % len(STYLES)]
    color = matplotlib.colormaps["cividis"](0.1 + 0.65 * index / max(count - 1, 1))
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
    """A panel per task, and one for those that have all of them where there are several.

    Lines are interquartile means over seeds, bands 95 % intervals by a stratified bootstrap.
    Without any evaluation the figure has no axes.
    """
    tasks = tasks_of(run for runs in experiments.values() for run in runs)
    titles = {task: [task] for task in tasks}
    if len(tasks) > 1:
        titles[f"all {len(tasks)} tasks"] = tasks
    panels = {}
    for title, of_panel in titles.items():
        curves = {
            label: aggregate(runs, of_panel, metric=metric, axis=axis)
            for label, runs in experiments.items()
        }
        if any(len(curve.x) for curve in curves.values()):
            panels[title] = curves
    if not panels:
        return Figure()
    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    legend = 0.24 * -(-len(experiments) // columns)  # inches that it takes from the panels
    figure = Figure(figsize=(max(3.4 * columns, 5), 2.7 * rows + legend), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=metric == "success")
    for place, (title, curves) in zip(grid.flat, panels.items(), strict=False):
        for index, (label, curve) in enumerate(curves.items()):
            if len(curve.x):
                _draw(place, curve, label=label, index=index, count=len(experiments))
        place.set_title(title, fontsize="medium")
        place.set_xlabel(LABELS[axis])
        if not AXES[axis].adds_up:
            place.xaxis.set_major_formatter(EngFormatter(sep=""))
        place.set_ylabel(LABELS[metric])
        if metric == "success":
            place.set_ylim(-0.03, 1.03)
        place.grid(visible=True, alpha=0.3)
    for place in list(grid.flat)[len(panels) :]:
        place.set_axis_off()
    lines = {line.get_label(): line for place in grid.flat for line in place.get_lines()}
    figure.legend(lines.values(), lines, loc="outside upper center", ncols=columns)
    return figure


def table(experiments: Mapping[str, Sequence[Run]]) -> str:
    """Final results in Markdown: interquartile means over seeds with 95 % intervals, for each task
    and for all of them together."""
    lines = [
        "| experiment | task | seeds | frames | success | return |",
        "|---|---|---|---|---|---|",
    ]
    for label, runs in experiments.items():
        finished = [run for run in runs if run.result]
        tasks = tasks_of(finished)
        rows = {task: [task] for task in tasks}
        if len(tasks) > 1:
            rows[f"all {len(tasks)} tasks"] = tasks
        for name, of_row in rows.items():
            own = [run for run in finished if set(of_row) & set(run.tasks)]
            frames = " / ".join(sorted({f"{run.result['frames']:,}" for run in own if run.result}))
            cells = [
                _cell([_final(finished, f"eval_{metric}/{task}") for task in of_row], digits)
                for metric, digits in (("success", 2), ("return", 1))
            ]
            lines.append(f"| {label} | {name} | {len(own)} | {frames} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _final(runs: Sequence[Run], name: str) -> Float[ndarray, " _"]:
    values = [run.result.get(name) for run in runs if run.result]
    return np.array([value for value in values if value is not None], dtype=float)


def _cell(scores: Sequence[Float[ndarray, " _"]], digits: int) -> str:
    if not all(len(runs) for runs in scores):
        return "-"
    value, low, high = interquartile_mean(scores)
    interval = "" if low is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{interval}"
