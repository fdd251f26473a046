"""The library's interface: its public names, and configurations by name."""

import ast
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from helpers import error_of

import torchrl_lite
from torchrl_lite import load_config, make_collector, make_learner
from torchrl_lite.config.shipped import config_names, find_config, shipped_folder

PACKAGE = Path(torchrl_lite.__file__).parent


def test_every_public_name_exists_and_is_visible_to_type_checkers() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    seen = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if node.module and node.module.startswith("torchrl_lite")
    }
    assert sorted(seen) == torchrl_lite.__all__ == sorted(torchrl_lite._HOME)
    for name, module in seen.items():
        assert getattr(torchrl_lite, name) is getattr(import_module(module), name)
        assert name in dir(torchrl_lite)
        assert getattr(torchrl_lite, name).__doc__, name
    with pytest.raises(AttributeError, match="'load_polcy'"):
        _ = torchrl_lite.load_polcy


def test_every_shipped_configuration_is_found_from_any_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert {"mt10", "fast_st", "mujoco/halfcheetah", "curricula/mt10_mixed"} <= {*config_names()}
    for name in config_names():
        assert find_config(name) == find_config(f"{name}.json")
        assert find_config(name).is_file()
    assert load_config("mt10").num_tasks == 10
    assert "cannot be read" in error_of(load_config, "x" * 5000 + ".json")
    assert find_config("x" * 5000) == Path("x" * 5000)  # reading it reports the error
    message = error_of(find_config, "mt11")
    assert "'mt11' is neither" in message and "did you mean 'mt10'?" in message


def test_a_file_takes_precedence_over_a_shipped_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mt10.json").write_text('{"extends": "mt3", "train": {"num_epochs": 7}}')
    config = load_config("mt10.json", "train.num_epochs=5")
    assert (config.num_tasks, config.train.num_epochs) == (3, 5)  # its base is a shipped one
    assert load_config("mt10").num_tasks == 10
    assert "mt12.json: no such configuration" in error_of(load_config, "mt12.json")
    message = error_of(load_config, "mt10", "train.num_epoch=3")
    assert message.startswith("--set: train.num_epoch: unknown key")  # the file is not blamed


def test_an_installed_package_uses_its_own_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert shipped_folder("config") == PACKAGE.parent / "config"
    (tmp_path / "shipped" / "config").mkdir(parents=True)
    monkeypatch.setattr("torchrl_lite.config.shipped._PACKAGE", tmp_path)
    assert shipped_folder("config") == tmp_path / "shipped" / "config"


def test_the_version_is_defined_once() -> None:
    text = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert "version" not in tomllib.loads(text)["project"]
    citation = (PACKAGE.parent / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {torchrl_lite.__version__}\n" in citation


@pytest.mark.parametrize(
    ("group", "hint"), [(2, "; a lower env.group_size makes more groups"), (1, "")]
)
def test_workers_that_have_nothing_to_collect_are_reported(group: int, hint: str) -> None:
    fields = {"tasks": ["reach-v3"], "num_envs": group, "group_size": group}
    config = load_config({"env": fields, "system": {"workers": 2}}, "net.hidden_shapes=[8]")
    said: list[str] = []
    make_collector(config, make_learner(config, device="cpu"), say=said.append).close()
    one = "system.workers: 1 of 2 collect, the rest only evaluate"
    assert said == [one + hint]
