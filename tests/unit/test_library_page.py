"""The code in the documentation runs: each page is one script from top to bottom."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_runs import TINY, run_starter, sets

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("page", "count", "result", "output"),
    [
        ("library.md", 5, "runs/reach/result.json", "done: 400 frames"),
        ("environments.md", 3, "runs/wrapped/policy.safetensors", "done: 40 frames"),
    ],
)
def test_the_python_code_of_a_page_runs(
    page: str, count: int, result: str, output: str, tmp_path: Path
) -> None:
    """In its own process and directory, since it trains and sets threads."""
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == count
    (tmp_path / "page.py").write_text("\n".join(blocks))
    command = [sys.executable, "page.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / result).exists()
    assert output in done.stdout


def test_the_commands_of_the_page_train_its_custom_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a tiny configuration, and the registered time limit, which a worker reads from the
    module."""
    text = (DOCS / "environments.md").read_text(encoding="utf-8")
    code, config, commands = (
        re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)[0]
        for language in ("python", "json", "bash")
    )
    (tmp_path / "my_tasks.py").write_text(code)
    (tmp_path / "my_task.json").write_text(config)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    small = sets({key: value for key, value in TINY.items() if not key.startswith("env.")})
    train, play, diagnose = (line.split() for line in commands.splitlines())
    assert train[:3] == ["torchrl-lite", "train", "sac"]
    assert run_starter("st_sac", *train[3:], *small) == 0
    result = json.loads((tmp_path / diagnose[-1] / "result.json").read_text())
    assert result["eval/ep_len_mean"] == 50
    assert run_starter("play", *play[2:], "--episodes", "1", "--workers", "1") == 0
    assert run_starter("diagnose", *diagnose[2:]) == 0
