"""Untrusted files and names: nothing in them is executed, nothing is written elsewhere."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Payload, newest_checkpoint, sign
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tiny_runs import TASK, TINY, folder_in, one_line, sets, tree_of

from torchrl_lite.algo.registry import SECTIONS
from torchrl_lite.command.launch import main
from torchrl_lite.config import Config, load, model, reference
from torchrl_lite.errors import UserError


def start(log_dir: Path, *argv: str) -> int:
    return main("sac", ["--device", "cpu", "--log_dir", str(log_dir), *argv])


SECRET = "s3cr3t0123456789"


# --- checkpoints; test_checkpoint covers how they are read ---------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log directory of a run with secrets in its environment; read-only."""
    log_dir = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "MY_TOKEN"):
            patch.setenv(name, SECRET)
        assert start(log_dir, "--task", TASK, "--id", "x", *sets(TINY)) == 0
    return log_dir


def test_a_run_with_a_malicious_checkpoint_is_rejected(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Although its manifest is right."""
    log_dir, target = tmp_path / "log", tmp_path / "executed"
    shutil.copytree(finished, log_dir)
    path = newest_checkpoint(folder_in(log_dir))
    state = torch.load(path, weights_only=True)
    torch.save(state | {"best": Payload(target)}, path)
    (folder_in(log_dir) / "result.json").unlink()
    sign(path)
    assert start(log_dir, "--task", TASK, "--id", "x", "--resume") == 1
    one_line(capsys.readouterr().err, path.name)
    assert not target.exists()
    pickle.loads(pickle.dumps(Payload(target)))
    assert target.exists()  # what it would have done


def test_no_environment_variable_is_written_to_a_file_of_a_run(finished: Path) -> None:
    files = [path for path in finished.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


# --- configurations ------------------------------------------------------------------------------


TAGS = ["!!python/object/apply:os.system ['mkdir {target}']", "!unknown x", "!!bool x", "!!int ''",
        "!!timestamp x", "!!binary é", "!!set x"]  # fmt: skip


@pytest.mark.parametrize("tag", TAGS)
def test_a_yaml_tag_is_rejected_and_executes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tag: str
) -> None:
    path, target = tmp_path / "evil.yaml", tmp_path / "executed"
    path.write_text(f"algo: sac\nenv:\n  tasks: {tag.format(target=target)}\n", "utf-8")
    assert start(tmp_path / "log", "--config", str(path)) == 2
    one_line(capsys.readouterr().err, "evil.yaml")
    assert not target.exists() and not (tmp_path / "log").exists()


def test_a_yaml_alias_bomb_ends_quickly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The "billion laughs" attack."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for n in range(1, 9):
        lines.append(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]")
    path = tmp_path / "evil.yaml"
    path.write_text("\n".join(lines))
    assert start(tmp_path / "log", "--config", str(path)) == 2
    one_line(capsys.readouterr().err)


FIELDS = [key for key, *_ in reference(model("sac", SECTIONS))]
KEYS = st.sampled_from([*FIELDS, "extends", "td3", "train", "NUM_ENVS"]) | st.text(max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=5,
) | st.sampled_from([10**30, 1e300, "auto", "\ud800", "\0", "a\nb", "../x", "x" * 1000])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    fields=st.dictionaries(KEYS, JSON, max_size=4),
    overrides=st.lists(st.tuples(KEYS, st.text(max_size=6)), max_size=2),
    yaml=st.booleans(),
)
@example(fields={}, overrides=[("sac.tau", "\x1f0.5")], yaml=False)  # not a space for float()
def test_random_trees_are_a_configuration_or_a_one_line_error(
    tmp_path: Path, fields: dict[str, Any], overrides: list[tuple[str, str]], yaml: bool
) -> None:
    """Made mostly of known keys, so that they get far before they fail."""
    tree = tree_of({"env.tasks": [TASK]} | fields)
    path = tmp_path / ("random.yaml" if yaml else "random.json")
    path.write_text(json.dumps(tree), encoding="utf-8")
    assert_config_or_one_line_error(path, [f"{key}={value}" for key, value in overrides])


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode), yaml=st.booleans())
def test_random_bytes_are_a_one_line_error(tmp_path: Path, content: bytes, yaml: bool) -> None:
    path = tmp_path / ("random.yaml" if yaml else "random.json")
    path.write_bytes(content)
    assert_config_or_one_line_error(path, [])


def assert_config_or_one_line_error(path: Path, overrides: list[str]) -> None:
    try:
        assert isinstance(load(path, overrides, sections=SECTIONS, algo="sac"), Config)
    except UserError as error:
        assert len(str(error).splitlines()) == 1


# --- names ---------------------------------------------------------------------------------------

ESCAPES = ["../../x", "..", "/tmp/x", "a\\b", "x\n", "\0", ".hidden"]


@pytest.mark.parametrize("name", ESCAPES, ids=repr)
@pytest.mark.parametrize("how", ["--id", "--task", "env.tasks", "env.name"])
def test_no_name_escapes_the_log_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str, name: str
) -> None:
    argv = {
        "--id": ["--task", TASK, f"--id={name}"],
        "--task": [f"--task={name}"],
        "env.tasks": ["--task", TASK, "--set", f"env.tasks={json.dumps([name])}"],
        "env.name": ["--task", TASK, "--set", f"env.name={json.dumps(name)}"],
    }[how]
    before = sorted(tmp_path.parent.rglob("*"))
    assert start(tmp_path / "log", *argv) == 2
    one_line(capsys.readouterr().err)
    assert sorted(tmp_path.parent.rglob("*")) == before
