"""Numbers that no machine has room for are a mistake in one line, before anything is built."""

import json
from pathlib import Path
from typing import Any

import pytest

from torchrl_lite.algo.registry import SECTIONS
from torchrl_lite.command import launch
from torchrl_lite.config import Config, check, load
from torchrl_lite.errors import UserError


def checked(key: str, value: Any) -> Config:
    tree: dict[str, Any] = {
        "env": {"tasks": ["reach-v3"]},
        "replay_buffer": {"size": 10**12},  # room for whatever else is asked for
    }
    *sections, name = key.split(".")
    place = tree
    for section in sections:
        place = place.setdefault(section, {})
    place[name] = value
    return check(tree, algo="sac", sections=SECTIONS, source="test")


def test_what_is_there_all_at_once_has_a_limit() -> None:
    with pytest.raises(UserError, match=r"env\.num_envs: 65537 is not allowed; .* <= 65536"):
        checked("env.num_envs", 65537)
    assert checked("env.num_envs", 65536).env.num_envs == 65536
    with pytest.raises(UserError, match=r"net\.hidden_shapes: 1000000000000 is not allowed"):
        checked("net.hidden_shapes", [256, 10**12])


@pytest.mark.parametrize("key", ["replay_buffer.size", "sac.alpha", "sac.target_entropy"])
@pytest.mark.parametrize("value", [1e16, 10**400, -1e300], ids=str)
def test_no_number_is_beyond_what_a_tensor_holds(key: str, value: float) -> None:
    with pytest.raises(UserError) as error:
        checked(key, value)
    assert str(error.value) == f"test: {key}: too large; numbers must not exceed 1e+15"
    with pytest.raises(UserError, match=r"net\.hidden_shapes: too large"):
        checked("net.hidden_shapes", [8, value])


def test_very_many_keys_or_tasks_are_refused_like_few(tmp_path: Path) -> None:
    path = tmp_path / "many.json"
    keys = {f"key{number}": 0 for number in range(30_000)}
    path.write_text(json.dumps({"env": {"tasks": ["reach-v3"]}} | keys))
    with pytest.raises(UserError, match="unknown key"):
        load(path, sections=SECTIONS)
    names = [f"task{number}" for number in range(100_000)]
    with pytest.raises(UserError, match=r"env\.tasks: 'task7' is named twice"):
        checked("env.tasks", [*names, "task7"])


def test_running_out_of_memory_prints_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_args: Any, **_kwargs: Any) -> int:
        raise MemoryError

    monkeypatch.setattr(launch, "_main", run)
    assert launch.main("sac", []) == 1
    assert capsys.readouterr().err.startswith("error: out of memory\nlower replay_buffer.size")
