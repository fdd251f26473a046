"""The code on the pages runs: each page is one script from top to bottom."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("page", "count", "result", "said"),
    [
        ("library.md", 5, "runs/reach/result.json", "done: 400 frames"),
        ("environments.md", 2, "runs/wrapped/policy.safetensors", "done: 40 frames"),
    ],
)
def test_the_code_of_the_page_runs(
    page: str, count: int, result: str, said: str, tmp_path: Path
) -> None:
    """In a process of its own: it trains in a directory of its own and sets threads."""
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == count
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks))
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / result).exists()
    assert said in done.stdout
