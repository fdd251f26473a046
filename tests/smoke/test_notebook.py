"""The docs' notebook runs, and its saved outputs are complete, small and free of local paths."""

import ast
import base64
import json
import re
import runpy
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from torchrl_lite.env.rendering import BACKENDS, draws

DOCS = Path(__file__).parents[2] / "docs"
PATH = DOCS / "tour.ipynb"


def cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def shown(notebook: Any, kind: str) -> list[str]:
    """All outputs of a MIME type, in cell order."""
    outputs = [output for cell in cells(notebook) for output in cell["outputs"]]
    found = [output["data"][kind] for output in outputs if kind in output.get("data", {})]
    return ["".join(one) for one in found]


def check_outputs(notebook: Any) -> None:
    """Two plots, a moving animation, two runs in the table, and a policy as good as on its card."""
    assert [cell["execution_count"] for cell in cells(notebook)] == list(
        range(1, len(cells(notebook)) + 1)
    )
    kinds = {output["output_type"] for cell in cells(notebook) for output in cell["outputs"]}
    assert "error" not in kinds
    pictures = [Image.open(BytesIO(base64.b64decode(one))) for one in shown(notebook, "image/png")]
    assert len(pictures) == 2
    (gif,) = (Image.open(BytesIO(base64.b64decode(one))) for one in shown(notebook, "image/gif"))
    first = np.asarray(gif.convert("RGB"), dtype=float)
    gif.seek(gif.n_frames - 1)
    assert gif.n_frames > 20
    assert np.abs(np.asarray(gif.convert("RGB")) - first).max() > 50
    (table,) = shown(notebook, "text/markdown")
    assert "| drawer-close-v3 | 1 | 11,000 |" in table
    assert "| HalfCheetah-v5 | 1 | 16,000 | - |" in table
    door = next(text for text in shown(notebook, "text/plain") if "door-open-v3" in text)
    success = re.search(r"success=([\d.]+)", door)
    assert success is not None
    assert float(success[1]) >= 0.8  # over ten episodes; the card says 1.00 over fifty


def test_the_saved_outputs_are_complete() -> None:
    check_outputs(json.loads(PATH.read_text(encoding="utf-8")))


def test_the_notebook_is_small_and_contains_no_local_paths() -> None:
    text = PATH.read_text(encoding="utf-8")
    assert len(text.encode()) < 700_000
    assert not re.findall(r"(?<![\w.])/(?:home|root|tmp|work|Users|usr|opt)/", text)


def test_the_imports_of_the_notebook_exist() -> None:
    source = "\n".join(
        "".join(cell["source"]) for cell in cells(json.loads(PATH.read_text(encoding="utf-8")))
    )
    imports = [node for node in ast.parse(source).body if isinstance(node, ast.ImportFrom)]
    own = [ast.unparse(node) for node in imports if "torchrl_lite" in (node.module or "")]
    assert len(own) > 5
    exec("\n".join(own), {})


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_notebook_runs() -> None:
    """About two minutes on two idle cores."""
    for package in ("ipykernel", "nbclient", "nbformat"):
        pytest.importorskip(package, reason="requirements-dev.txt is not installed")
    if not any(draws(backend) for backend in BACKENDS):
        pytest.skip("no rendering backend works here")
    notebook = runpy.run_path(str(DOCS / "make_tour.py"))["executed"]()
    check_outputs(notebook)
