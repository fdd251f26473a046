"""Results of a search: the best configuration, a table, and pictures."""

import csv
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

from torchrl_lite.analysis.tables import as_markdown
from torchrl_lite.config import Config
from torchrl_lite.errors import in_one_line
from torchrl_lite.sweep.search.driver import name_of
from torchrl_lite.sweep.search.study import Study

BEST = "best.json"
LEARNED = {"overlap", "matmul_precision"}
"""Fields of the section ``system`` that change what is learned."""


def write(folder: Path, study: Study, config_of: Callable[[Any], Config], averages: str) -> str:
    """Write ``best.json``, ``trials.md``, ``trials.csv`` and the pictures; return what to print.

    ``config_of`` gives the configuration of a trial; ``averages`` says what success and return
    are averaged over. Without a complete trial there is no best.
    """
    rows = _rows(study.trials)
    with (folder / "trials.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    text = f"{as_markdown(rows[0], rows[1:])}\n\n{averages}"
    (folder / "trials.md").write_text(text + "\n", encoding="utf-8")
    done = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    if not done:
        return f"{text}\n\nno trial is complete, so there is no best one"
    best = max(done, key=lambda trial: trial.value)
    tree = json.dumps(_shared(config_of(best)), indent=2)
    (folder / BEST).write_text(tree + "\n", encoding="utf-8")
    lines = [text, "", f"the best is {name_of(best.number)}: {folder / BEST}"]
    if best.user_attrs["success"] == 0:
        lines.append("no trial had a success; the best one is the one with the best return")
    return "\n".join([*lines, *_pictures(folder, study)])


def _rows(trials: Sequence[Any]) -> list[list[str]]:
    """The header, and a row per trial, the best first."""
    fields = list(dict.fromkeys(key for trial in trials for key in trial.params))
    states = {"COMPLETE": "done", "PRUNED": "stopped", "FAIL": "left out", "RUNNING": "unfinished"}
    order = list(states)
    rows = [["trial", "state", "success", "return", *fields]]
    for trial in sorted(trials, key=lambda t: (order.index(t.state.name), -(t.value or 0))):
        values = [trial.user_attrs.get(name) for name in ("success", "ret")]
        values += [trial.params.get(key) for key in fields]
        rows.append([name_of(trial.number), states[trial.state.name], *map(_cell, values)])
    return rows


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _shared(config: Config) -> dict[str, Any]:
    """A configuration for any algorithm, task and machine."""
    tree = config.model_dump(exclude={"algo", "log"})
    tree["system"] = {key: tree["system"][key] for key in LEARNED}
    return tree


def _pictures(folder: Path, study: Study) -> list[str]:
    """Draw what the trials allow; return why not, for what they do not."""
    matplotlib.use("agg")
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as plots

    drawn = {
        "history.png": plots.plot_optimization_history,
        "curves.png": plots.plot_intermediate_values,
        "importance.png": plots.plot_param_importances,
    }
    missing = []
    for name, plot in drawn.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that the plots are experimental
                plot(study.study)
        except (ValueError, RuntimeError) as error:  # such as too few trials
            missing.append(f"no {name}: {in_one_line(error)}")
            continue
        pyplot.gcf().set_size_inches(9, 5)
        pyplot.savefig(folder / name, dpi=120, bbox_inches="tight")
        pyplot.close()
    return missing
