"""What the pages promise to be complete about is complete."""

import re
import runpy
from pathlib import Path

import pytest
from helpers import make_learner, make_spec

from torchrl_lite import curriculum
from torchrl_lite.algo import ALGORITHMS
from torchrl_lite.logger import columns

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def test_the_configuration_page_is_what_the_models_say() -> None:
    made = runpy.run_path(str(DOCS / "make_configuration.py"))["page"]()

    assert made == (DOCS / "configuration.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_an_algorithm_has_a_page_with_every_metric(algo: str) -> None:
    text = (DOCS / f"{algo}.md").read_text(encoding="utf-8")

    missing = [name for name in ALGORITHMS[algo][0].METRICS if f"`train/{name}`" not in text]

    assert not missing


def test_every_column_is_explained() -> None:
    text = (DOCS / "logs.md").read_text(encoding="utf-8")
    learner = make_learner("sac", make_spec(2))
    names = columns(["a", "b"], learner.metric_names, curriculum.columns(["a", "b"]))
    general = {re.sub(r"/[ab]$", "/<task>", name) for name in names if not name.startswith("train")}

    assert not [name for name in general if f"`{name}`" not in text]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    anchors = {
        file: {
            re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
            for line in file.read_text(encoding="utf-8").splitlines()
            if line.startswith("#")
        }
        for file in [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    }

    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors[file], target
