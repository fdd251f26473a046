"""Results of a sweep: one table, in Markdown and CSV, and learning curves."""

from collections.abc import Sequence
from pathlib import Path

from torchrl_lite.analysis import comparison, results
from torchrl_lite.analysis.axes import Axis, Until
from torchrl_lite.analysis.figures import learning_curves
from torchrl_lite.analysis.runs import Metric, Run, by_experiment


def write(
    folder: Path, runs: Sequence[Run], until: Until | None = None, *, failed: Sequence[str] = ()
) -> str:
    """Write ``results.md``, ``results.csv`` and ``curves.png``; return the table: final results, or
    what runs had reached within a budget, and below it the names of runs that ``failed``.

    The curves show success, or return if no task reports success.
    """
    experiments = by_experiment(runs)
    folder.mkdir(parents=True, exist_ok=True)
    if until is None:
        found = list(results.rows(experiments))
        text, has_success = results.markdown(found), any(row.success for row in found)
        results.write_csv(folder / "results.csv", found)
    else:
        compared = comparison.rows(experiments, until)
        text = comparison.markdown(compared, until)
        has_success = any(row.success for row in compared)
        comparison.write_csv(folder / "results.csv", compared)
    if failed:
        text += f"\n\nLeft out, because they failed: {', '.join(failed)}."
    (folder / "results.md").write_text(text + "\n", encoding="utf-8")
    metric: Metric = "success" if has_success else "return"
    axis: Axis = "frames" if until is None else until.axis
    learning_curves(experiments, metric=metric, axis=axis).savefig(folder / "curves.png", dpi=150)
    return text
