"""Learning curves."""

import sys
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
from torchrl_lite.analysis.statistics import Estimate, over_seeds_each
from torchrl_lite.errors import UserError

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
"""The maximum of marks on a curve."""
CUT = 0.9
"""A curve that ends before this share of its longest run is worth a word."""


_Seed = list[list[tuple[Float[ndarray, " _"], Float[ndarray, " _"]]]]
"""The curves of a seed's runs, for each task."""


class Curve(NamedTuple):
    """A curve with ``N`` points and ``S`` seeds."""

    x: Float[ndarray, " N"]
    seeds: Float[ndarray, "S N"]
    """Means over tasks, per seed."""
    interpolated: bool = False
    """Whether seeds differ in their x values, as over wall time."""
    notes: Sequence[str] = ()
    """What of the runs is not in it, in sentences."""

    @property
    def estimates(self) -> list[Estimate]:
        return over_seeds_each(self.seeds) if len(self.seeds) else []


def aggregate(
    runs: Sequence[Run], tasks: Sequence[str], *, metric: str, axis: Axis, smooth: int = 1
) -> Curve:
    """The mean over tasks, averaged over the seeds that have all tasks, up to the end of the
    shortest run. Runs without a value are left out. Between its points, a seed is interpolated.
    ``smooth``: each point is the mean of so many of a seed's latest."""
    seeds, ends, without = _seeds(runs, tasks, metric=metric, axis=axis, smooth=smooth)
    if not seeds:
        return Curve(np.empty(0), np.empty((0, 0)))
    points = [x for seed in seeds for of_task in seed for x, _ in of_task]
    start, end = max(x[0] for x in points), min(ends)
    if start > end:
        apart = f"its curves have no {axis.replace('_', ' ')} in common: {ends[end].path} ends at"
        note = f"{apart} {_shown(end, axis)}, another one begins at {_shown(start, axis)}"
        return Curve(np.empty(0), np.empty((0, 0)), notes=[note])
    within = [x[(x >= start) & (x <= end)] for x in points]
    interpolated = not all(np.array_equal(one, within[0]) for one in within)
    x = np.unique(np.concatenate(within))
    if len(x) > MOST_POINTS:  # a column of every epoch
        x = x[np.linspace(0, len(x) - 1, MOST_POINTS).astype(int)]
    values = np.array([_mean_over_tasks(seed, x) for seed in seeds])
    notes = []
    if without:
        notes.append(f"without seed {', '.join(without)}, which has no {metric} of some task")
    if end < CUT * max(ends):
        unit = axis.replace("_", " ")
        notes.append(
            f"drawn up to {_shown(end, axis)} of {_shown(max(ends), axis)} {unit}, where the "
            f"shortest run ends: {ends[end].path}"
        )
    return Curve(x, values, interpolated, notes)


def _shown(place: float, axis: Axis) -> str:
    return f"{place:,.{2 if AXES[axis].adds_up else 0}f}"


def _seeds(
    runs: Sequence[Run], tasks: Sequence[str], *, metric: str, axis: Axis, smooth: int
) -> tuple[list[_Seed], dict[float, Run], list[str]]:
    """The seeds that have all tasks, which of their runs ends where, and the other seeds' names."""
    seeds, ends, without = list[_Seed](), dict[float, Run](), list[str]()
    for name, group in by_seed(runs).items():
        curves = [
            [
                (run, *run.curve(task, metric=metric, axis=axis))
                for run in group
                if task in run.tasks
            ]
            for task in tasks
        ]
        known = [[one for one in of_task if len(one[1])] for of_task in curves]
        if all(known):
            seeds.append([[(x, _smoothed(y, smooth)) for _, x, y in one] for one in known])
            ends |= {float(x[-1]): run for one in known for run, x, _ in one}
        else:
            without.append(name)
    return seeds, ends, without


def _mean_over_tasks(seed: _Seed, x: Float[ndarray, " N"]) -> Float[ndarray, " N"]:
    means = [np.mean([np.interp(x, *curve) for curve in of_task], 0) for of_task in seed]
    return np.mean(means, 0)


def _smoothed(values: Float[ndarray, " N"], latest: int) -> Float[ndarray, " N"]:
    """Means over so many of the latest points, of fewer at the start."""
    sums = np.cumsum(np.pad(values, (1, 0)))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - latest, 0)
    return values if latest == 1 else (sums[ends] - sums[starts]) / (ends - starts)


def _draw(axes: Axes, curve: Curve, *, label: str, index: int, markers: bool, dots: bool) -> None:
    """A line with its confidence band; with too few seeds for one, each seed as ``dots``."""
    estimates = curve.estimates
    every = max(1, len(curve.x) // POINTS)
    line, marker = STYLES[index % len(STYLES)]
    color = COLORS[index % len(COLORS)]
    axes.plot(
        curve.x,
        [estimate.value for estimate in estimates],
        linestyle=line, marker=marker if markers and not curve.interpolated else None,
        markersize=3, color=color, label=label, markevery=every,
    )  # fmt: skip
    known = [
        (x, e.low, e.high) for x, e in zip(curve.x, estimates, strict=True) if e.low is not None
    ]
    if known:
        x, low, high = zip(*known, strict=True)
        axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
    elif len(curve.seeds) > 1 and dots:
        for seed in curve.seeds:
            axes.scatter(curve.x[::every], seed[::every], s=3, color=color, alpha=0.5, linewidth=0)


def say(notes: Sequence[str]) -> None:
    """On stderr, each once: what a figure lacks."""
    for note in dict.fromkeys(notes):
        print(note, file=sys.stderr)


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
    evaluations and, for few seeds, dots of the single runs. What is left out is said on stderr.
    Without any value the figure has no axes.

    Raises:
        UserError: there are values, but no experiment has curves that overlap.
    """
    panels = _panels(experiments, metric=metric, axis=axis, smooth=smooth)
    if not panels:
        return Figure()
    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    legend = 0.24 * -(-len(experiments) // columns)  # height in inches
    figure = Figure(figsize=(max(3.4 * columns, 5), 2.7 * rows + legend), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=metric == "success")
    for place, (title, curves) in zip(grid.flat, panels.items(), strict=False):
        place.set_title(title, fontsize="medium")
        _fill(place, curves, metric=metric, axis=axis, markers=markers)
    for place in list(grid.flat)[len(panels) :]:
        place.set_axis_off()
    lines = {line.get_label(): line for place in grid.flat for line in place.get_lines()}
    figure.legend(lines.values(), lines, loc="outside upper center", ncols=columns)
    return figure


def _panels(
    experiments: Mapping[str, Sequence[Run]], *, metric: str, axis: Axis, smooth: int
) -> dict[str, dict[str, Curve]]:
    """The panels that have a curve: each experiment's, by the panel's title and its own label."""
    panels, notes, missing = {}, list[str](), dict[str, list[str]]()
    for title, tasks in _titles(experiments, metric).items():
        curves = {
            label: aggregate(runs, tasks or tasks_of(runs), metric=metric, axis=axis, smooth=smooth)
            for label, runs in experiments.items()
        }
        for label, curve in curves.items():
            notes += [f"{label}: {note}" for note in curve.notes]
            if not len(curve.x) and not curve.notes:
                missing.setdefault(label, []).append(title)
        if any(len(curve.x) for curve in curves.values()):
            panels[title] = curves
    if not panels and notes:
        raise UserError("; ".join(dict.fromkeys(notes)))
    for label, lacking in missing.items():
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        named = ", ".join(lacking[:3]) + more
        notes.append(f"{label}: not in the panels {named}: it lacks these tasks, or their {metric}")
    if panels:
        say(notes)
    return panels


def _titles(experiments: Mapping[str, Sequence[Run]], metric: str) -> dict[str, list[str] | None]:
    """The panels' titles, and the tasks of each; None: each experiment's own."""
    everything = [run for runs in experiments.values() for run in runs]
    tasks = tasks_of(everything)
    if any(len(run.tasks) > 1 and metric in run.log.columns for run in everything):
        same = all(len(tasks_of(runs)) == len(tasks) for runs in experiments.values())
        return {f"all {len(tasks)} tasks" if same else "all tasks of each": None}
    titles: dict[str, list[str] | None] = {task: [task] for task in tasks}
    if len(tasks) > 1:
        titles[f"mean of {len(tasks)} tasks"] = tasks
    return titles


def _fill(
    place: Axes, curves: Mapping[str, Curve], *, metric: str, axis: Axis, markers: bool
) -> None:
    """A panel: its curves, and what its axes show."""
    marked = markers and metric.startswith(("success", "return", "eval"))  # at evaluations
    for index, (label, curve) in enumerate(curves.items()):
        if len(curve.x):
            _draw(place, curve, label=label, index=index, markers=marked, dots=markers)
    place.set_xlabel(LABELS[axis])
    if not AXES[axis].adds_up:
        place.xaxis.set_major_formatter(EngFormatter(sep=""))
    place.set_ylabel(LABELS.get(metric, metric))
    if metric == "success":
        place.set_ylim(-0.03, 1.03)
    place.grid(visible=True, alpha=0.3)
