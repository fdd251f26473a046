"""Results of a sweep: one table, in Markdown and CSV, and learning curves."""

from collections.abc import Sequence
from pathlib import Path

from torchrl_lite.analysis import results
from torchrl_lite.analysis.figures import learning_curves
from torchrl_lite.analysis.runs import Metric, Run, by_experiment


def write(folder: Path, runs: Sequence[Run]) -> str:
    """Write ``results.md``, ``results.csv`` and ``curves.png``; return the table.

    The curves show success, or return if no task reports success.
    """
    experiments = by_experiment(runs)
    found = list(results.rows(experiments))
    folder.mkdir(parents=True, exist_ok=True)
    text = results.markdown(found)
    (folder / "results.md").write_text(text + "\n", encoding="utf-8")
    results.write_csv(folder / "results.csv", found)
    metric: Metric = "success" if any(row.success for row in found) else "return"
    learning_curves(experiments, metric=metric).savefig(folder / "curves.png", dpi=150)
    return text
