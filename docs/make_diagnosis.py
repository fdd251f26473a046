"""Fills the table in ``diagnose.md``: trains and writes the broken runs of the tests, and diagnoses
them (minutes)."""

import contextlib
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from broken_runs import GOOD, LOGS, REAL, rules_found, train, write  # noqa: E402

PAGE = ROOT / "docs" / "diagnose.md"


def cases(folder: Path) -> Iterator[tuple[str, str, str | None, list[str]]]:
    """Name, kind, the rule that must find it, and what was found."""
    for index, (name, real) in enumerate(REAL.items()):
        with contextlib.redirect_stdout(sys.stderr):
            path = train(real, folder / f"real{index}")
        yield name, "trained", real.rule, rules_found(path)
    for index, (name, log) in enumerate(LOGS.items()):
        yield name, "log by hand", log.rule, rules_found(write(log, folder / f"log{index}"))
    stored = {path: rules_found(path) for path in GOOD}
    alarms = {path: names for path, names in stored.items() if names}
    yield f"nothing: {len(stored) - len(alarms)} runs in `docs/results`", "trained", None, []
    for path, names in alarms.items():
        yield f"nothing: `{path.relative_to(ROOT)}`", "trained", None, names


def table() -> str:
    lines = ["| broken on purpose | run | found first | also found |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        for name, kind, rule, names in cases(Path(folder)):
            wrong = "" if names[:1] == ([rule] if rule else []) else f" (not {rule})"
            first, *others = [f"`{one}`" for one in names] or ["nothing"]
            lines.append(f"| {name} | {kind} | {first}{wrong} | {', '.join(others)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    pattern = re.compile(r"\| broken on purpose \|.*?\n(?=\n|\Z)", re.DOTALL)
    PAGE.write_text(pattern.sub(lambda _: table(), text), encoding="utf-8")
