"""Writes docs/configuration.md from the models: ``python docs/make_configuration.py``."""

from itertools import groupby
from pathlib import Path

from torchrl_lite.algo.registry import SECTIONS
from torchrl_lite.config import model, reference

PAGE = Path(__file__).parent / "configuration.md"
HEAD = """# Every field of a configuration

A configuration is JSON or YAML; `extends` names what it builds on: a file, relative to itself, or
a shipped configuration. `--set section.key=value` overrides a field. An unknown key, a wrong type
or an impossible value ends the command with a one-line error and exit code 2. Made from the
models by
`python docs/make_configuration.py`.
"""


def page() -> str:
    """The reference in Markdown: a table for each section, those of all algorithms included."""
    rows = {row[0]: row for algo in SECTIONS for row in reference(model(algo, SECTIONS))}
    parts = [HEAD]
    for section, group in groupby(sorted(rows, key=_section), key=_section):
        parts.append(f"\n## {section or 'top level'}\n\n")
        parts.append("| key | default | what it is | allowed |\n|---|---|---|---|\n")
        for key in group:
            _, allowed, default, meaning = rows[key]
            cells = [f"`{key}`", f"`{default}`", meaning, allowed]
            row = " | ".join(cell.replace("|", r"\|") for cell in cells)  # a bar would end a cell
            parts.append(f"| {row} |\n")
    return "".join(parts)


def _section(key: str) -> str:
    return key.rpartition(".")[0].split(".")[0]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
