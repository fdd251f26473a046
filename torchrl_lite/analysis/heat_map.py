"""All tasks of an experiment over time, in one picture."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from numpy import ndarray

from torchrl_lite.analysis.axes import AXES, Axis
from torchrl_lite.analysis.figures import LABELS, aggregate, say
from torchrl_lite.analysis.runs import Run, tasks_of
from torchrl_lite.analysis.statistics import centres
from torchrl_lite.errors import UserError


def heat_map(
    experiments: Mapping[str, Sequence[Run]],
    *,
    metric: str = "success",
    axis: Axis = "frames",
    smooth: int = 1,
) -> Figure:
    """A panel per experiment, with a row for each task and the axis from left to right; seeds are
    averaged. Without any value the figure has no axes.

    Raises:
        UserError: the metric is one value for several tasks, or there are values,
            but no experiment has curves that overlap.
    """
    for run in (run for runs in experiments.values() for run in runs):
        if len(run.tasks) > 1 and metric in run.log.columns:
            raise UserError(f"--heat_map: {metric} is one value for all tasks, not one of each")
    panels, notes = {}, list[str]()
    for label, runs in experiments.items():
        x, rows, lacking = cells(runs, metric=metric, axis=axis, smooth=smooth)
        notes += [f"{label}: {note}" for note in lacking]
        if len(x):
            panels[label] = tasks_of(runs), x, rows
    if not panels:
        if notes:
            raise UserError("; ".join(dict.fromkeys(notes)))
        return Figure()
    say(notes)
    most = max(len(tasks) for tasks, _, _ in panels.values())
    size = (2.5 + 4.5 * len(panels), 1.2 + 0.22 * most)
    figure = Figure(figsize=size, layout="constrained")
    (grid,) = figure.subplots(1, len(panels), squeeze=False)
    values = np.concatenate([panel[2].ravel() for panel in panels.values()])
    low, high = (0.0, 1.0) if metric == "success" else (np.nanmin(values), np.nanmax(values))
    for place, (label, (tasks, x, rows)) in zip(grid, panels.items(), strict=True):
        mesh = place.pcolormesh(
            _edges(x), np.arange(len(tasks) + 1), rows, vmin=low, vmax=high, cmap="cividis"
        )
        place.set_yticks(np.arange(len(tasks)) + 0.5, tasks, fontsize="small")
        place.invert_yaxis()
        place.set_title(label, fontsize="medium")
        place.set_xlabel(LABELS[axis])
        if not AXES[axis].adds_up:
            place.xaxis.set_major_formatter(EngFormatter(sep=""))
    figure.colorbar(mesh, ax=list(grid), label=LABELS.get(metric, metric))
    return figure


def cells(
    runs: Sequence[Run], *, metric: str, axis: Axis, smooth: int = 1
) -> tuple[Float[ndarray, " N"], Float[ndarray, "T N"], list[str]]:
    """Positions on the axis, a row of values for each task, nan where it has none, and notes on
    what of the runs is not in them."""
    curves = [
        aggregate(runs, [task], metric=metric, axis=axis, smooth=smooth) for task in tasks_of(runs)
    ]
    x = np.unique(np.concatenate([curve.x for curve in curves]))
    rows = [
        np.interp(x, curve.x, centres(curve.seeds), left=np.nan, right=np.nan)
        if len(curve.x)
        else np.full(len(x), np.nan)
        for curve in curves
    ]
    return x, np.array(rows), [note for curve in curves for note in curve.notes]


def _edges(x: Float[ndarray, " N"]) -> Float[ndarray, " M"]:
    """Borders of columns that end at the positions: a value is what came of the time before."""
    first = x[0] - (x[1] - x[0]) if len(x) > 1 else 0.0
    return np.concatenate([[max(first, 0.0)], x])
