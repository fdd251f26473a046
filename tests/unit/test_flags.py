"""The command line: every mistake is exit code 2 and one line that helps."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import pytest
import torch

from torchrl_lite.algo.registry import ALGORITHMS
from torchrl_lite.collector import rollout
from torchrl_lite.command import flags
from torchrl_lite.command.launch import main
from torchrl_lite.config import Config, model, reference
from torchrl_lite.errors import UserError
from torchrl_lite.training.rl_algo import RLAlgo
from torchrl_lite.training.run import Run

TEN = (
    "reach-v3",
    "push-v3",
    "pick-place-v3",
    "door-open-v3",
    "drawer-open-v3",
    "drawer-close-v3",
    "button-press-topdown-v3",
    "peg-insert-side-v3",
    "window-open-v3",
    "window-close-v3",
)
SHIPPED = Path(__file__).parents[2] / "config"
REACH = ("--task", "reach-v3")
SMALL = ("--device", "cpu", "--set", "replay_buffer.size=1000")
TRAINED = ("--task_id", "0", *SMALL)
FLAGS = (
    "--config",
    "--task_id",
    "--task",
    "--seed",
    "--id",
    "--log_dir",
    "--device",
    "--set",
    "--until",
    "--resume",
    "--init_from",
    "--trust_imports",
    "--help_config",
)


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


class NoEnv(gym.Env):
    """Stands where an environment would, and costs nothing."""


class Started(NamedTuple):
    """A run that got as far as its first epoch."""

    config: Config
    folder: Path
    until: int | None


@pytest.fixture(autouse=True)
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Started]:
    """The runs that would have trained; none does. The working directory is empty."""

    def make_task_env(*_: object, **__: object) -> NoEnv:
        return NoEnv()

    monkeypatch.setattr(rollout, "make_task_env", make_task_env)
    runs: list[Started] = []

    def train(self: RLAlgo) -> bool:
        run = self.run
        assert isinstance(run, Run)
        runs.append(Started(self.config, run.folder, run._until))
        return True

    monkeypatch.setattr(RLAlgo, "train", train)
    monkeypatch.chdir(tmp_path)
    return runs


Start = Callable[..., Outcome]


@pytest.fixture
def start(capsys: pytest.CaptureFixture[str]) -> Start:
    def run(*argv: str, multi_task: bool = False) -> Outcome:
        capsys.readouterr()
        code = main("sac", list(argv), multi_task=multi_task)
        return Outcome(code, *capsys.readouterr())

    return run


def mistake(outcome: Outcome) -> str:
    """The one line of a user's mistake."""
    assert outcome.code == 2, outcome
    assert outcome.err.endswith("\n")
    assert len(outcome.err.splitlines()) == 1, outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    return outcome.err


def write(path: Path, content: str | dict[str, Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Everything below a folder, with the time of its last change."""
    return {
        str(path.relative_to(folder)): (
            path.read_bytes() if path.is_file() else b"",
            path.stat().st_mtime_ns,
        )
        for path in sorted(folder.rglob("*"))
    }


# --- the task ------------------------------------------------------------------------------------


def test_without_a_task_the_ten_are_listed(start: Start) -> None:
    line = mistake(start())

    assert all(f"{index} {task}" in line for index, task in enumerate(TEN)), line
    assert "--task_id" in line
    assert "--task" in line.replace("--task_id", "")


def test_with_a_configuration_without_a_task_the_ten_are_listed(start: Start) -> None:
    line = mistake(start("--config", str(SHIPPED / "base_st.json")))

    assert all(task in line for task in TEN), line


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("rech-v3", "reach-v3"),
        ("pick-plac-v3", "pick-place-v3"),
        ("drawer-opn-v3", "drawer-open-v3"),
        ("Reach-v3", "reach-v3"),
        ("reach", "reach-v3"),
        ("reach-v1", "reach-v3"),
        ("reach-v2", "reach-v3"),
        ("push-v2", "push-v3"),
        ("door-v1", "door-open-v3"),
        ("door-v2", "door-open-v3"),
        ("door", "door-open-v3"),
        ("peg-insertion-side-v2", "peg-insert-side-v3"),
        ("button-press-topdown-v2", "button-press-topdown-v3"),
    ],
)
def test_an_unknown_task_is_told_with_the_nearest(start: Start, name: str, nearest: str) -> None:
    line = mistake(start("--task", name))

    assert f"'{name}'" in line
    assert f"'{nearest}'" in line


@pytest.mark.parametrize("name", ["xyz", "", "123", "-v3", "reach-v3 ", "a\nb", "../x", "a\tb"])
def test_a_task_that_is_like_none_is_a_mistake(start: Start, name: str) -> None:
    mistake(start(f"--task={name}"))


@pytest.mark.parametrize(
    ("argv", "flag"),
    [
        (("--task", "rech-v3"), "--task"),
        (("--task", "xyz"), "--task"),
        (("--set", 'env.tasks=["rech-v3"]'), "env.tasks"),
        ((*REACH, "--set", 'env.tasks=["rech-v3"]'), "env.tasks"),
    ],
)
def test_an_unknown_task_is_told_with_where_it_was_named(
    start: Start, argv: tuple[str, ...], flag: str
) -> None:
    assert flag in mistake(start(*argv))


@pytest.mark.parametrize("task_id", ["10", "-1", "1000", "x", "1.5", "reach-v3", "", "1e0"])
def test_a_task_id_out_of_range_is_told_with_the_ten(start: Start, task_id: str) -> None:
    line = mistake(start("--task_id", task_id))

    assert "--task_id" in line
    assert all(f"{index} {task}" in line for index, task in enumerate(TEN)), line


@pytest.mark.parametrize("task", ["reach-v3", "push-v3", "nonsense"])
def test_a_task_is_named_once(start: Start, task: str) -> None:
    line = mistake(start("--task_id", "0", "--task", task))

    assert "--task_id" in line
    assert "--task" in line.replace("--task_id", "")


@pytest.mark.parametrize(
    "field", ['env.tasks=["push-v3"]', 'env={"tasks":["push-v3"]}', "env.tasks=5"]
)
@pytest.mark.parametrize("flags", [("--task_id", "0"), ("--task", "reach-v3")], ids=" ".join)
def test_a_task_is_named_by_a_flag_or_a_field(
    start: Start, flags: tuple[str, str], field: str
) -> None:
    line = mistake(start(*flags, "--set", field))

    assert "env.tasks" in line
    assert "--task" in line


@pytest.mark.parametrize(("task_id", "task"), list(enumerate(TEN)))
def test_a_task_id_is_its_place_in_mt10(
    start: Start, started: list[Started], task_id: int, task: str
) -> None:
    assert start("--task_id", str(task_id), *SMALL).code == 0

    assert started[0].config.env.tasks == [task]


def test_a_task_outside_mt10_takes_the_base_configuration(
    start: Start, started: list[Started]
) -> None:
    assert start("--task", "box-close-v3", *SMALL).code == 0

    assert started[0].config.env.tasks == ["box-close-v3"]
    assert started[0].config.train.num_epochs == 1980


def test_a_task_replaces_that_of_the_configuration(
    start: Start, started: list[Started], tmp_path: Path
) -> None:
    path = write(tmp_path / "mine.json", {"env": {"tasks": ["push-v3"]}})

    assert start("--config", path, *REACH, *SMALL).code == 0

    assert started[0].config.env.tasks == ["reach-v3"]


def test_a_task_replaces_the_many_of_a_configuration(
    start: Start, started: list[Started], tmp_path: Path
) -> None:
    path = write(tmp_path / "pair.json", {"env": {"tasks": ["push-v3", "door-open-v3"]}})

    assert start("--config", path, *TRAINED).code == 0

    assert started[0].config.env.tasks == ["reach-v3"]


def test_many_tasks_need_another_starter(start: Start, tmp_path: Path) -> None:
    env = {"tasks": ["reach-v3", "push-v3"], "num_envs": 2}
    line = mistake(start("--config", write(tmp_path / "mt2.json", {"env": env})))

    assert "env.tasks" in line
    assert "mt_sac.py" in line


# --- the other flags -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "nearest"),
    [
        ("--sed", "--seed"),
        ("--seeds", "--seed"),
        ("--sed=3", "--seed"),
        ("--taskid", "--task_id"),
        ("--task-id", "--task_id"),
        ("--task-id=3", "--task_id"),
        ("--confg", "--config"),
        ("--log-dir", "--log_dir"),
        ("--logdir", "--log_dir"),
        ("--divice", "--device"),
        ("--sett", "--set"),
        ("--untill", "--until"),
        ("--rseume", "--resume"),
        ("--help-config", "--help_config"),
    ],
)
def test_an_unknown_flag_is_told_with_the_nearest(start: Start, flag: str, nearest: str) -> None:
    line = mistake(start(*REACH, flag))

    assert flag in line
    assert f"'{nearest}'" in line


@pytest.mark.parametrize("flag", ["--res", "--conf", "--dev", "--log"])
def test_a_flag_is_written_out(start: Start, flag: str) -> None:
    assert flag in mistake(start(*REACH, flag, "x"))


@pytest.mark.parametrize("argv", [("stray",), ("--qqqq",), ("-q",), ("--", "x"), ("--resume=1",)])
def test_an_argument_that_is_none_is_a_mistake(start: Start, argv: tuple[str, ...]) -> None:
    mistake(start(*REACH, *argv))


@pytest.mark.parametrize("argv", [("--foo", "a\nb"), ("a\nb",), ("--a\r\nb",), ("--id", "a\nb")])
def test_an_argument_with_a_line_break_is_told_in_one_line(
    start: Start, argv: tuple[str, ...]
) -> None:
    mistake(start(*REACH, *argv))


@pytest.mark.parametrize(
    "flag",
    ["--config", "--task_id", "--task", "--seed", "--id", "--log_dir", "--device", "--set",
     "--until"],
)  # fmt: skip
def test_a_flag_without_its_value_is_named(start: Start, flag: str) -> None:
    assert flag in mistake(start(flag))


@pytest.mark.parametrize("seed", ["-1", "1.5", "x", "", "1e3", " ", "0x1", "1,2", str(2**63)])
def test_a_seed_is_a_natural_number(start: Start, seed: str) -> None:
    line = mistake(start(*REACH, "--seed", seed))

    assert "--seed" in line
    assert f"'{seed}'" in line
    assert "0" in line


@pytest.mark.parametrize("seed", ["0", "1", "42", str(2**31 - 1)])
def test_a_seed_is_the_last_folder(start: Start, started: list[Started], seed: str) -> None:
    assert start(*TRAINED, "--seed", seed).code == 0

    assert started[0].folder.name == seed


@pytest.mark.parametrize(
    "name",
    ["../x", "..", ".", "a/b", "/abs", "", " ", "a b", "~", "a\\b", "a\n", ".hidden", "a/../../b",
     "é", "a\tb", "$HOME", "a:b", "*"],
)  # fmt: skip
def test_an_experiment_cannot_leave_the_log_directory(
    start: Start, tmp_path: Path, name: str
) -> None:
    line = mistake(start(*REACH, f"--id={name}"))

    assert "--id" in line
    assert "letters" in line
    assert contents(tmp_path) == {}


def test_an_experiment_whose_name_is_too_long_is_a_mistake(start: Start, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()

    mistake(start(*REACH, "--id", "x" * 300))


@pytest.mark.parametrize("frames", ["0", "-1", "-1e6", "0.5", "1.5", "x", "", "nan", "inf"])
def test_until_is_a_positive_number_of_frames(start: Start, frames: str) -> None:
    line = mistake(start(*REACH, f"--until={frames}"))

    assert "--until" in line
    assert "positive" in line


@pytest.mark.parametrize(("text", "frames"), [("1", 1), ("1e6", 10**6), ("250000", 250_000)])
def test_until_is_a_number_like_all_others(
    start: Start, started: list[Started], text: str, frames: int
) -> None:
    assert start(*TRAINED, "--until", text).code == 0

    assert started[0].until == frames


# --- the device ----------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:9"])
def test_a_gpu_that_is_not_there_is_a_mistake(
    start: Start, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)

    line = mistake(start(*REACH, "--device", device))

    assert "--device" in line
    assert f"'{device}'" in line
    assert "cpu" in line


@pytest.mark.parametrize("device", ["cuda:2", "cuda:9", "cuda:-1", "cuda:x", "cuda:", "cuda:01"])
def test_a_gpu_out_of_range_is_told_with_those_there_are(
    start: Start, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    line = mistake(start(*REACH, "--device", device))

    assert "--device" in line
    assert "cpu, cuda:0, cuda:1" in line


@pytest.mark.parametrize("device", ["tpu", "", "CPU", "cpu:0", "gpu", "mps", "meta", "0", "auto "])
def test_a_device_of_another_kind_is_a_mistake(start: Start, device: str) -> None:
    line = mistake(start(*REACH, "--device", device))

    assert "--device" in line
    assert "cpu" in line


def test_without_a_gpu_the_device_is_the_cpu(
    start: Start, started: list[Started], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)

    assert start(*TRAINED, "--device", "auto").code == 0

    assert started[0].config.system.accel == "eager"


def test_a_graph_needs_a_gpu(start: Start) -> None:
    line = mistake(start(*TRAINED, "--set", "system.accel=graph"))

    assert "system.accel" in line


# --- the configuration ---------------------------------------------------------------------------


def test_a_missing_configuration_is_told_with_the_nearest(start: Start, tmp_path: Path) -> None:
    write(tmp_path / "base_st.json", {})

    line = mistake(start("--config", "base_sd.json"))

    assert "base_sd.json" in line
    assert "'base_st.json'" in line


@pytest.mark.parametrize("text", ["", "{", "no", "[]", "{'a': 1}"])
def test_a_configuration_without_json_is_a_mistake(start: Start, tmp_path: Path, text: str) -> None:
    assert "mine.json" in mistake(start("--config", write(tmp_path / "mine.json", text)))


@pytest.mark.parametrize("path", ["", ".", "/", "no/such/folder/x.json", "x.txt", "a\nb.json"])
def test_a_strange_configuration_is_a_mistake(start: Start, path: str) -> None:
    mistake(start(f"--config={path}"))


def test_tasks_that_are_no_list_are_a_mistake(start: Start) -> None:
    line = mistake(start("--set", "env.tasks=reach-v3"))

    assert "env.tasks" in line
    assert "a list" in line


def test_a_configuration_of_another_algorithm_is_a_mistake(start: Start, tmp_path: Path) -> None:
    path = write(tmp_path / "td3.json", {"algo": "td3", "env": {"tasks": ["reach-v3"]}})

    line = mistake(start("--config", path))

    assert "algo" in line
    assert "'sac'" in line


@pytest.mark.parametrize(
    ("override", "needles"),
    [
        ("a", ["--set a"]),
        ("=1", ["--set =1"]),
        ("train.batch=8", ["train.batch", "'batch_size'"]),
        ("train.batch_size=0", ["train.batch_size", ">= 1"]),
        ("train.batch_size=true", ["train.batch_size", "an integer"]),
        ("sac=5", ["sac", "an object"]),
        ("env.tasks.0=1", ["env.tasks", "a list"]),
        ("sac.alpha=aut", ["sac.alpha", "'auto'"]),
        ("sac.plr=NaN", ["sac.plr", "NaN"]),
        ("a\nb=1", []),
    ],
)
def test_a_wrong_override_is_a_mistake(start: Start, override: str, needles: list[str]) -> None:
    line = mistake(start(*REACH, "--set", override))

    assert all(needle in line for needle in needles), line


def test_overrides_may_be_repeated(start: Start, started: list[Started]) -> None:
    argv = ("--set", "train.batch_size=8", "--set", "train.opt_steps=1e3")

    assert start(*TRAINED, *argv).code == 0

    assert started[0].config.train.batch_size == 8
    assert started[0].config.train.opt_steps == 1000


def test_a_task_may_be_given_as_an_override(start: Start, started: list[Started]) -> None:
    assert start("--set", 'env.tasks=["push-v3"]', *SMALL).code == 0

    assert started[0].config.env.tasks == ["push-v3"]


@pytest.mark.parametrize(("version", "expected"), [("v1", "ema"), ("v2", None)])
def test_rewards_of_the_first_version_are_normalised(
    start: Start, started: list[Started], version: str, expected: str | None
) -> None:
    assert start(*TRAINED, "--set", f"env.reward_version={version}").code == 0

    assert started[0].config.env.reward_normalization == expected


# --- the run directory ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "folder"),
    [
        ((), "log/MT10_Individual_Tasks/reach-v3/1"),
        (("--seed", "7"), "log/MT10_Individual_Tasks/reach-v3/7"),
        (("--id", "mine"), "log/mine/reach-v3/1"),
        (("--log_dir", "runs/new"), "runs/new/MT10_Individual_Tasks/reach-v3/1"),
        (("--config", "fast.json"), "log/fast/reach-v3/1"),
        (("--config", "sub/fast.v2.yaml"), "log/fast.v2/reach-v3/1"),
        (("--config", "fast.json", "--id", "mine"), "log/mine/reach-v3/1"),
        (("--config", "named.json"), "log/named/reach-v3/1"),
        (("--set", "train.num_epochs=3"), "log/MT10_Individual_Tasks/reach-v3/1"),
    ],
)
def test_a_run_has_its_directory(
    start: Start, started: list[Started], tmp_path: Path, argv: tuple[str, ...], folder: str
) -> None:
    write(tmp_path / "fast.json", {"train": {"num_epochs": 1}})
    write(tmp_path / "sub" / "fast.v2.yaml", {"train": {"num_epochs": 1}})
    write(tmp_path / "named.json", {"algo": "sac"})

    assert start(*TRAINED, *argv).code == 0

    assert started[0].folder.resolve() == tmp_path / folder
    assert (tmp_path / folder / "params.json").exists()


def test_one_task_of_a_set_has_its_own_directory(
    start: Start, started: list[Started], tmp_path: Path
) -> None:
    env = {"name": "MT2", "tasks": ["push-v3", "door-open-v3"]}
    path = write(tmp_path / "mt2.json", {"env": env})

    assert start("--config", path, *TRAINED).code == 0

    assert started[0].folder.parts[-2:] == ("reach-v3", "1")


@pytest.mark.parametrize("left", ["params.json", "log.csv", "checkpoint/last.pt", "notes.txt"])
def test_an_existing_run_is_not_touched(
    start: Start, started: list[Started], tmp_path: Path, left: str
) -> None:
    folder = tmp_path / "log" / "MT10_Individual_Tasks" / "reach-v3" / "1"
    write(folder / left, "old")
    before = contents(tmp_path)

    line = mistake(start(*REACH))

    assert "MT10_Individual_Tasks/reach-v3/1" in line
    assert all(flag in line for flag in ("--resume", "--id", "--seed"))
    assert contents(tmp_path) == before
    assert started == []


def test_an_empty_directory_is_no_run(start: Start, tmp_path: Path) -> None:
    (tmp_path / "log" / "MT10_Individual_Tasks" / "reach-v3" / "1").mkdir(parents=True)

    assert start(*TRAINED).code == 0


@pytest.mark.parametrize("argv", [("--id", "other"), ("--seed", "2"), ("--log_dir", "other")])
def test_another_run_has_room_beside_an_existing_one(
    start: Start, tmp_path: Path, argv: tuple[str, ...]
) -> None:
    folder = tmp_path / "log" / "MT10_Individual_Tasks" / "reach-v3" / "1"
    write(folder / "params.json", "old")

    assert start(*TRAINED, *argv).code == 0

    assert (folder / "params.json").read_text() == "old"


@pytest.mark.parametrize("place", ["log", "log/x", "log/x/reach-v3", "log/x/reach-v3/1"])
def test_a_file_in_the_place_of_a_directory_is_a_mistake(
    start: Start, tmp_path: Path, place: str
) -> None:
    write(tmp_path / place, "a file")

    assert place in mistake(start(*TRAINED, "--id", "x"))


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_log_directory_without_permission_is_a_mistake(start: Start, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir(mode=0o555)

    assert "log" in mistake(start(*TRAINED))


def test_a_mistake_leaves_nothing_behind(start: Start, tmp_path: Path) -> None:
    mistake(start(*REACH, "--device", "tpu"))

    assert contents(tmp_path) == {}


# --- many tasks ----------------------------------------------------------------------------------


def test_many_tasks_need_a_configuration(start: Start) -> None:
    assert "--config" in mistake(start(multi_task=True))


@pytest.mark.parametrize("argv", [("--task", "reach-v3"), ("--task_id", "3")])
def test_many_tasks_take_no_flag_for_one(start: Start, argv: tuple[str, ...]) -> None:
    line = mistake(start("--config", "x.json", *argv, multi_task=True))

    assert argv[0] in line


# --- help ----------------------------------------------------------------------------------------


def test_help_names_every_flag(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        start("--help")

    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all(flag in text for flag in FLAGS)


@pytest.mark.parametrize("width", ["80", "200"])
def test_help_config_names_every_field(
    start: Start, monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    sections = {name: section for name, (_, section) in ALGORITHMS.items()}
    fields = [key for key, *_ in reference(model("sac", sections))]

    outcome = start("--help_config")

    assert outcome.code == 0
    assert outcome.err == ""
    missing = [field for field in fields if field not in outcome.out.split()]
    assert not missing


def test_help_config_needs_no_task_and_starts_nothing(
    start: Start, started: list[Started], tmp_path: Path
) -> None:
    assert start("--help_config").code == 0

    assert started == []
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("text", ["discount factor", "3e-4|0.0003", "an integer >= 1", "256"])
def test_help_config_tells_types_defaults_and_meanings(
    start: Start, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")

    out = start("--help_config").out

    assert any(form in out for form in text.split("|"))


def test_tasks_may_be_set_with_their_whole_section(start: Start, started: list[Started]) -> None:
    assert start("--set", 'env={"tasks": ["push-v3"]}', *SMALL).code == 0
    assert started[0].folder.parts[-2:] == ("push-v3", "1")


@pytest.mark.parametrize(
    ("flag", "arguments"),
    [
        ("--json", ["play.py", "--pretrained", "reach-v3", "--json"]),
        ("--video", ["play.py", "--pretrained", "reach-v3", "--video"]),
        ("--export", ["play.py", "--checkpoint", "none.pt", "--export"]),
        ("--out", ["plot.py", "none", "--out"]),
        ("--table", ["plot.py", "none", "--table"]),
        ("--out", ["bench.py", "env", "--out"]),
    ],
)
def test_what_cannot_be_written_is_told_before_the_work(
    tmp_path: Path, flag: str, arguments: list[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    starter = Path(__file__).parents[2] / "starter" / arguments[0]
    command = [sys.executable, str(starter), *arguments[1:], str(file / "below.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"error: {flag}: {file} cannot be written: {file} is no folder\n"


def test_a_folder_is_no_file_to_write(tmp_path: Path) -> None:
    flags.check_file("--json", None)
    flags.check_file("--json", tmp_path / "new" / "x.json")
    assert not (tmp_path / "new").exists()
    with pytest.raises(UserError, match=f"--json: {tmp_path} is a folder"):
        flags.check_file("--json", tmp_path)
