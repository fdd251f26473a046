"""Fills the tables of runs in ``docs/*.md`` from the runs in ``docs/results``.

python docs/make_results.py               # fill every <!-- runs: EXPERIMENT --> in docs/*.md
python docs/make_results.py --add RUN...  # first store finished run directories

A stored run keeps its log, configuration, versions and result. ``stored.json`` adds the date and
the success on 50 goals that were drawn with another seed than those of the training.
"""

import argparse
import json
import re
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from torchrl_lite import evaluate, load_policy, summary  # noqa: E402
from torchrl_lite.bench.solve import IN_A_ROW, SUCCESS  # noqa: E402
from torchrl_lite.reporting.rows import Cells, read_rows  # noqa: E402

DOCS = Path(__file__).parent
STORE = DOCS / "results"
FILES = ("log.csv", "params.json", "versions.json", "result.json")
OTHER_GOALS, EPISODES = 1000, 50
"""Added to a run's seed to draw other goals, and episodes on them."""
TABLE = re.compile(r"(<!-- runs: (\S+) -->\n).*?(<!-- end of runs -->)", re.DOTALL)
HEADER = (
    "| task | seed | solved after | last five evaluations | final | held-out | other goals "
    "| core minutes | commit | date |\n|---|---|---|---|---|---|---|---|---|---|\n"
)


def add(run: Path) -> None:
    """Stores a finished run and evaluates its final policy on other goals."""
    folder = STORE.joinpath(*run.resolve().parts[-3:])
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(run / name, folder / name)
    policy = load_policy(run / "policy.safetensors")
    found, _ = evaluate(policy, episodes=EPISODES, seed=policy.seed + OTHER_GOALS)
    finished = datetime.fromtimestamp((run / "result.json").stat().st_mtime, tz=UTC)
    stored = {
        "date": finished.date().isoformat(),
        "other_goals": {one.task: one.success for one in map(summary, found)},
    }
    (folder / "stored.json").write_text(json.dumps(stored, indent=2) + "\n")


def table(experiment: str) -> str:
    """A row for each stored run and task."""
    order = json.loads((ROOT / "config" / "mt50.json").read_text())["env"]["tasks"]
    runs = sorted((STORE / experiment).glob("*/*/log.csv"))
    lines = [(task, line) for log in runs for task, line in _lines(log.parent)]
    lines.sort(key=lambda line: order.index(line[0]))
    return HEADER + "".join(line for _, line in lines)


def _lines(folder: Path) -> Iterator[tuple[str, str]]:
    rows = list(read_rows(folder / "log.csv"))
    params, versions = _read(folder / "params.json"), _read(folder / "versions.json")
    result, stored = _read(folder / "result.json"), _read(folder / "stored.json")
    minutes = f"{_core_minutes(rows):.1f}"
    for task in params["env"]["tasks"]:
        success = f"eval_success/{task}"
        last = [float(row[success]) for row in rows if row.get(success)][-5:]
        cells = [
            task.removesuffix("-v3"),
            folder.name,
            _solved(rows, success),
            f"{sum(last) / len(last):.2f}",
            _rate(result.get(success)),
            _rate(result.get(f"held_out_success/{task}")),
            _rate(stored.get("other_goals", {}).get(task)),
            minutes,
            versions.get("commit", "")[:7],
            stored.get("date", ""),
        ]
        yield task, f"| {' | '.join(cells)} |\n"


def _solved(rows: list[Cells], success: str) -> str:
    """When the last of the first ``IN_A_ROW`` good evaluations in a row was made."""
    good = 0
    for index, row in enumerate(rows):
        if row.get(success):
            good = good + 1 if float(row[success]) >= SUCCESS else 0
        if good == IN_A_ROW:
            updates, minutes = int(row["updates"]) / 1000, _core_minutes(rows[: index + 1])
            return f"{updates:.1f}k updates, {minutes:.1f} min"
    return "not"


def _core_minutes(rows: list[Cells]) -> float:
    return sum(float(row["time/cpu_s"] or 0) for row in rows) / 60


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def filled(text: str) -> str:
    """A page with its tables filled."""
    return TABLE.sub(lambda found: found[1] + "\n" + table(found[2]) + "\n" + found[3], text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--add", nargs="+", type=Path, default=[], metavar="RUN")
    for run in parser.parse_args().add:
        add(run)
    for page in DOCS.glob("*.md"):
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
