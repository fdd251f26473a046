"""Every command in the docs is valid: its flags, files and fields exist."""

import json
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from torchrl_lite.cli.main import COMMANDS
from torchrl_lite.command import flags
from torchrl_lite.command.options import request
from torchrl_lite.policies import hub
from torchrl_lite.policies import shipped as pretrained
from torchrl_lite.sweep.command import parse as parse_sweep
from torchrl_lite.sweep.plan import plan

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "docs" / "tour.ipynb",
    *sorted((ROOT / "pretrained").glob("*.md")),
]
NOT_SHIPPED = ("params.json", "drawers.json", "best.json", "my_task.json")
"""Configurations that the reader creates."""


def text_of(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def commands() -> list[str]:
    """The commands in shell blocks and code spans, without a placeholder ``--set ...``.

    Lines with variables belong to scripts, which are tested as a whole.
    """
    found = []
    for page in PAGES:
        text = text_of(page)
        blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
        lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
        spans = re.findall(r"(?<!`)`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        for line in [part for one in lines for part in one.split("&&")] + spans:
            words = " ".join(line.split())
            if words.startswith(("python starter/", "torchrl-lite ")) and "$" not in words:
                found.append(words.removesuffix(" --set ..."))
    return list(dict.fromkeys(found))


def test_commands_are_found() -> None:
    assert len(commands()) > 30


@pytest.mark.parametrize("command", commands())
def test_a_documented_command_is_valid(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its flags, configuration and names are read as by its starter."""
    monkeypatch.chdir(ROOT)
    program, starter, *words = shlex.split(command, comments=True)
    if program == "torchrl-lite":
        assert starter in COMMANDS
    else:
        assert Path(starter).is_file()
    name = Path(starter).stem
    training = re.fullmatch(r"(st|mt)_(\w+)", name)
    if training or name == "train":
        multi_task = training[1] == "mt" if training else None
        algo = training[2] if training else words.pop(0)
        args = flags.parse(algo, words, multi_task=multi_task)
        if not args.help_config and (args.config is None or args.config.name not in NOT_SHIPPED):
            request(args, algo, multi_task=multi_task)
    elif name == "sweep":
        args = parse_sweep(words)
        if args.starter:
            plan(args)
    else:
        module = "bench.command" if name == "bench" else f"command.{name}"
        args = import_module(f"torchrl_lite.{module}").parse(words)
        named = getattr(args, "pretrained", None)
        if named and not named.startswith(hub.SCHEME):
            pretrained.find(named)
