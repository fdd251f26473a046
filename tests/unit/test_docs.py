"""The documentation is complete and agrees with the code."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest
from helpers import CPU, make_learner, make_spec

from torchrl_lite.algo.registry import ALGORITHMS
from torchrl_lite.algo.replay_buffer import ReplayBuffer
from torchrl_lite.reporting.logger import columns
from torchrl_lite.training import curriculum
from torchrl_lite.types import Block

ROOT = Path(__file__).parents[2]
DOCS, TESTS = ROOT / "docs", ROOT / "tests"
PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def test_the_configuration_page_matches_the_models() -> None:
    made = runpy.run_path(str(DOCS / "make_configuration.py"))["page"]()
    assert made == (DOCS / "configuration.md").read_text(encoding="utf-8")


def test_result_tables_match_the_stored_runs() -> None:
    filled = runpy.run_path(str(DOCS / "make_results.py"))["filled"]
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert filled(text) == text, page.name


def test_pages_state_the_size_of_a_transition() -> None:
    spec = make_spec(obs_dim=39, act_dim=4)
    size = ReplayBuffer(spec, 1, CPU).bytes_per_transition
    assert size == sum(part.nbytes for part in Block.zeros(spec, 1, 1))
    for page in (DOCS / "speed.md", DOCS / "ray.md", DOCS / "troubleshooting.md"):
        assert f"{size} bytes" in page.read_text(encoding="utf-8"), page.name


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_every_algorithm_has_a_page_with_all_its_metrics(algo: str) -> None:
    text = (DOCS / f"{algo}.md").read_text(encoding="utf-8")
    missing = [name for name in ALGORITHMS[algo][0].METRICS if f"`train/{name}`" not in text]
    assert not missing


def test_every_log_column_is_documented() -> None:
    text = (DOCS / "logs.md").read_text(encoding="utf-8")
    learner = make_learner("sac", make_spec(2))
    more = curriculum.columns(["a", "b"])
    names = columns(["a", "b"], learner.metrics.columns, more, info=["x"])
    general = {re.sub(r"/[ab]$", "/<task>", name) for name in names if not name.startswith("train")}
    general = {name.replace("/x/", "/<name>/") for name in general}
    assert not [name for name in general if f"`{name}`" not in text]


@pytest.mark.parametrize("page", [*PAGES, DOCS / "tour.ipynb"], ids=lambda path: path.name)
def test_links_resolve(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    anchors = {
        file: {
            re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
            for line in file.read_text(encoding="utf-8").splitlines()
            if line.startswith("#")
        }
        for file in PAGES
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors[file], target


def pins(name: str) -> set[str]:
    """The packages of a requirements file; asserts that each has an exact version."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if not line.startswith(("#", "-"))]
    assert all("==" in line for line in wanted)
    return {re.split(r"[\[=]", line)[0].lower() for line in wanted}


def test_every_dependency_is_pinned_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.split("[<>=]", one)[0] for one in project["dependencies"]}
    assert needed == pins("requirements.txt")


def test_the_readme_gives_a_reason_for_every_package() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8").lower()
    rows = re.findall(r"^\| (.*?) \|", readme.partition("\n## dependencies\n")[2], re.MULTILINE)
    explained = {name.split(" (")[0] for row in rows for name in row.split(", ")}
    assert not (pins("requirements.txt") | pins("requirements-dev.txt")) - explained


def test_every_test_named_in_the_docs_exists() -> None:
    files = {file.name: file.read_text(encoding="utf-8") for file in TESTS.rglob("*.py")}
    tests = re.findall(r"def (test_\w+)", "\n".join(files.values()))
    for page in PAGES:
        for span in re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8")):
            if re.fullmatch(r"(tests/.*)?test_\w+\.py", span):
                assert span.rpartition("/")[2] in files, span
            elif re.fullmatch(r"test_\w+|(test|…)\w*…|…\w+", span):
                pattern = span.replace("…", r"\w*")
                assert any(re.fullmatch(pattern, name) for name in tests), span
