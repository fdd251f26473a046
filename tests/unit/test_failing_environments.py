"""Environments that raise, exit or return nonsense: a short error that names them, exit code 1."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from helpers import make_learner
from tiny_runs import SAVED, sets

from torchrl_lite.collector.collector import Collector
from torchrl_lite.collector.setup import RolloutSetup
from torchrl_lite.command import train as library
from torchrl_lite.command.launch import main
from torchrl_lite.command.report import telling
from torchrl_lite.config import EnvConfig
from torchrl_lite.env.failing import named, of_environment
from torchrl_lite.env.make import make_spec
from torchrl_lite.errors import EpisodeError, RunError
from torchrl_lite.policies import film

PACKAGE = """
import os, sys
import gymnasium as gym
from gymnasium.envs.classic_control.pendulum import PendulumEnv

def failure():
    if os.environ["FAILURE"] == "exit":
        sys.exit(0)
    raise ArithmeticError("first\\nsecond")

class Failing(PendulumEnv):
    def _fail(self, method):
        if os.environ["WHERE"] == method:
            failure()

    def reset(self, **options):
        self._fail("reset")
        if os.environ["WHERE"] == "elsewhere":
            os.chdir("/")
        obs, info = super().reset(**options)
        return obs if os.environ["WHERE"] == "old reset" else (obs, info)

    def step(self, action):
        self._fail("step")
        obs, reward, ended, cut, info = super().step(action)
        if os.environ["WHERE"] == "success":
            info[os.environ.get("KEY", "success")] = float(os.environ["SUCCESS"])
        if os.environ["WHERE"] == "old step":
            return obs, reward, ended, info
        return obs, reward, ended, cut, info

    def render(self):
        self._fail("render")
        return super().render()

    def close(self):
        self._fail("close")
        super().close()

gym.register("Failing-v0", Failing, max_episode_steps=15)
"""


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "failing_envs.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")
    yield
    gym.registry.pop("Failing-v0", None)
    sys.modules.pop("failing_envs", None)


ENV: dict[str, Any] = {"suite": "gymnasium", "imports": ["failing_envs"], "tasks": ["Failing-v0"]}
CONFIG = EnvConfig(**ENV)
Setup = Callable[..., None]


@pytest.fixture
def set_up(monkeypatch: pytest.MonkeyPatch) -> Setup:
    """Chooses what the environment does, by variables of the process."""

    def choose(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name.upper(), value)

    return choose


def train(log_dir: Path, **changes: Any) -> int:
    fields = SAVED | {f"env.{key}": value for key, value in ENV.items()} | changes
    return main("sac", ["--device", "cpu", "--id", "x", "--log_dir", str(log_dir), *sets(fields)])


@pytest.mark.parametrize(
    ("where", "failure", "cause", "workers"),
    [
        ("step", "exit", "SystemExit: 0", 1),
        ("reset", "exit", "SystemExit: 0", 0),
        ("step", "raise", "ArithmeticError: first second", 0),
    ],
)
def test_a_failing_environment_is_named_with_its_own_stack_frames(
    tmp_path: Path,
    set_up: Setup,
    capsys: pytest.CaptureFixture[str],
    where: str,
    failure: str,
    cause: str,
    workers: int,
) -> None:
    set_up(where=where, failure=failure)
    assert train(tmp_path, **{"system.workers": workers}) == 1
    *frames, last = capsys.readouterr().err.splitlines()
    (trace,) = tmp_path.rglob("error.txt")
    assert all(part in last for part in ("Failing-v0", "(copy 0)", cause, str(trace)))
    assert "Traceback" in trace.read_text()
    shown = [line for line in frames if line.startswith("  File ")]
    assert [line.rpartition(" ")[2] for line in shown if "failing_envs.py" in line][-1] == "failure"
    assert not any("/gymnasium/" in line or "/torchrl_lite/" in line for line in shown)


def test_a_failure_without_a_run_directory_shows_its_stack_frames_too(
    tmp_path: Path, set_up: Setup, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shapes are read before there is one."""
    set_up(where="close", failure="exit")
    assert train(tmp_path) == 1
    *frames, last = capsys.readouterr().err.splitlines()
    assert last == "error: Failing-v0: SystemExit: 0"
    assert [line for line in frames if line.startswith("  File ")][-1].endswith(", in failure")
    assert not list(tmp_path.rglob("error.txt"))


def test_a_failed_start_does_not_block_the_next(tmp_path: Path, set_up: Setup) -> None:
    """And its traceback is deleted when the run starts."""
    for where, code in (("step", 1), ("nowhere", 2)):
        set_up(where=where, failure="raise")
        assert train(tmp_path, **{"train.num_epochs": 1}) == code
    (params,) = tmp_path.rglob("params.json")
    argv = ["--config", str(params), "--id", "x", "--device", "cpu", "--log_dir", str(tmp_path)]
    assert main("sac", [*argv, "--resume"]) == 0
    assert not list(tmp_path.rglob("error.txt"))


@pytest.mark.parametrize("method", ["reset", "step"])
def test_an_environment_for_gym_is_told_what_gymnasium_expects(
    tmp_path: Path, set_up: Setup, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    set_up(where=f"old {method}")
    assert train(tmp_path) == 1
    assert "; Gymnasium's reset returns 2 values, its step 5 (full" in capsys.readouterr().err


def test_an_environments_own_unpacking_is_not_blamed_on_gym() -> None:
    with pytest.raises(EpisodeError) as caught, named("own"):
        _, _ = [1, 2, 3]
    assert str(caught.value) == "own: ValueError: too many values to unpack (expected 2)"


@pytest.mark.parametrize("success", ["nan", "0.3"])
def test_a_success_that_is_neither_0_nor_1_is_an_error(
    tmp_path: Path, set_up: Setup, capsys: pytest.CaptureFixture[str], success: str
) -> None:
    set_up(where="success", success=success)
    assert train(tmp_path) == 1
    text = f"Failing-v0 (copy 0): ValueError: the success is {success}, not 0 or 1"
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(("key", "rate"), [("success", 1), ("is_success", 1), ("achieved", None)])
def test_success_may_have_either_name(
    tmp_path: Path, set_up: Setup, key: str, rate: int | None
) -> None:
    set_up(where="success", success="1", key=key)
    assert train(tmp_path, **{"train.num_epochs": 1, "train.eval_interval": 1}) == 0
    (result,) = tmp_path.rglob("result.json")
    assert json.loads(result.read_text())["eval/success_rate"] == rate


def test_a_failure_that_names_an_undecodable_file_is_reported(tmp_path: Path) -> None:
    error = ValueError("no model at " + os.fsdecode(b"m\xfcll.xml"))
    with pytest.raises(RunError, match="Failing-v0: ValueError: no model at"), telling(tmp_path):
        raise of_environment("Failing-v0", error) from error
    assert r"m\udcfcll.xml" in (tmp_path / "error.txt").read_text()


def test_an_environment_that_changes_the_working_directory_moves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, set_up: Setup
) -> None:
    set_up(where="elsewhere")
    monkeypatch.chdir(tmp_path)
    assert train(Path("relative_logs"), **{"train.num_epochs": 1}) == 0
    assert not Path("/relative_logs").exists()
    assert [path.parents[3].name for path in tmp_path.rglob("result.json")] == ["relative_logs"]


@pytest.mark.parametrize("key", ["success", "is_success"])
def test_a_film_shows_success_of_either_name(
    set_up: Setup, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    set_up(where="success", success="1", key=key)
    shown: list[Any] = []
    monkeypatch.setattr(PendulumEnv, "render", lambda _: None)  # which needs pygame
    monkeypatch.setattr(film, "titled", lambda *_, success: shown.append(success))
    actor = make_learner("sac", make_spec(CONFIG)).actor
    film.record(film.Replay(CONFIG, actor, 0, seed=1))
    assert shown == [None, *[1.0] * (len(shown) - 1)] and len(shown) > 2


def test_an_exit_during_rendering_names_the_environment(set_up: Setup) -> None:
    set_up(where="render", failure="exit")
    actor = make_learner("sac", make_spec(CONFIG)).actor
    with pytest.raises(EpisodeError, match="Failing-v0: SystemExit: 0"):
        film.record(film.Replay(CONFIG, actor, 0, seed=1))


@pytest.mark.parametrize("wrappers", [[], ["TimeAwareObservation"]])
def test_an_environment_that_cannot_be_closed_is_named_at_the_start(
    set_up: Setup, wrappers: list[str]
) -> None:
    """From a script, as one of the two errors that `train` documents."""
    set_up(where="close", failure="raise")
    with pytest.raises(RunError, match="Failing-v0: ArithmeticError: first second"):
        library.train({"env": ENV | {"wrappers": wrappers}})


def test_an_environment_that_cannot_be_closed_is_named_at_the_end(set_up: Setup) -> None:
    set_up(where="nowhere", failure="exit")
    spec = make_spec(CONFIG)
    setup = RolloutSetup(CONFIG, spec, make_learner("sac", spec).actor, seed=1)
    collector = Collector(setup, epoch_frames=5)
    set_up(where="close")
    with pytest.raises(EpisodeError, match=r"Failing-v0 \(copy 0\): SystemExit: 0"):
        collector.close()
