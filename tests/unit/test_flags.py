"""The command line: every mistake gives exit code 2 and one helpful line."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from tiny_runs import contents, one_line, requested, run_starter, sets, tree_of

from torchrl_lite import load_config, make_learner
from torchrl_lite.algo.registry import SECTIONS
from torchrl_lite.algo.reward_scale import DeviationScale, ReturnScale, reward_scale
from torchrl_lite.analysis.axes import Until
from torchrl_lite.command import flags, job
from torchrl_lite.command.launch import main
from torchrl_lite.command.options import find_device, resolve
from torchrl_lite.config import Config, machine, model, reference
from torchrl_lite.config.machine import cores, cpu_name
from torchrl_lite.env.metaworld import MT10
from torchrl_lite.errors import UserError

REACH = ("--task", "reach-v3")
Mistake = Callable[..., None]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory is empty, and no run may get as far as its environments."""
    started = AssertionError("the run started")
    monkeypatch.setattr(job, "make_collector", Mock(side_effect=started))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def mistake(capsys: pytest.CaptureFixture[str]) -> Mistake:
    """Asserts that a command prints nothing but one line with these parts."""

    def check(argv: Sequence[str], *parts: str, multi_task: bool = False) -> None:
        assert main("sac", argv, multi_task=multi_task) == 2
        out, err = capsys.readouterr()
        assert out == ""
        one_line(err, *parts)

    return check


def config_of(*argv: str) -> Config:
    """What the run of a command would be configured with."""
    return resolve(requested(*argv).config)


def write(path: Path, content: str | dict[str, Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


# --- mistakes ------------------------------------------------------------------------------------

TEN = tuple(f"{index} {task}" for index, task in enumerate(MT10))
PUSH = "--task push-v3 --set sac.plr=1e-3"
MISTAKES: list[tuple[str, list[str]]] = [
    ("--seed 1", ["--task_id", *TEN, "--task NAME"]),
    ("--task Reach-v3", ["--task: ", "'Reach-v3'", "'reach-v3'"]),
    ('--set env.tasks=["peg-insertion-side-v2"]', ["env.tasks: ", "'peg-insert-side-v3'"]),
    ("--task_id 10", ["--task_id", *TEN]),
    ("--task_id 1.5", ["--task_id", *TEN]),
    ("--task_id 0 --task push-v3", ["--task and --task_id"]),
    ('--task_id 0 --set env.tasks=["push-v3"]', ["env.tasks", "--task_id"]),
    ('--task_id 0 --set env={"tasks":["push-v3"]}', ["env.tasks", "--task_id"]),
    ("--task reach-v3 --res x", ["--res"]),  # no abbreviation
    ("--task reach-v3 stray", ["stray"]),
    ("--task reach-v3 --foo a\nb", ["--foo"]),
    ("--task reach-v3 --seed 1e3", ["--seed", "'1e3'", "from 0 to"]),
    ("--task reach-v3 --seed -1", ["--seed", "'-1'", "from 0 to"]),
    (f"--task reach-v3 --seed {2**63}", ["--seed", "from 0 to 2147483647"]),
    ("--task reach-v3 --stage 0", ["--stage"]),
    (f"--task reach-v3 --id {'x' * 300}", ["--id", "300 characters"]),
    ("--task reach-v3 --device tpu", ["--device", "'tpu'"]),
    (f"{PUSH} --set sac.tau=5", ["--set: sac.tau"]),
    (f"{PUSH} --set train.no_such=5", ["--set: train.no_such"]),
    (
        f"{PUSH} --set sac.log_std_min=3",  # conflicts with the file
        ["push-v3.json with --set sac.plr, sac.log_std_min: sac.log_std_min"],
    ),
    (
        f"{PUSH} --set sac.lr=1e-3",  # two names are equally close
        [
            "'plr' (learning rate of the policy and the temperature)",
            "'qlr' (learning rate of the Q functions)",
        ],
    ),
]


@pytest.mark.parametrize(("argv", "parts"), MISTAKES)
def test_a_mistake_is_one_helpful_line_and_writes_no_file(
    mistake: Mistake, tmp_path: Path, argv: str, parts: list[str]
) -> None:
    mistake(argv.split(" "), *parts)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("text", ["0", "1.5", "", "nan", "0h", "h", "infh", "90s", "1h30min"])
def test_until_rejects_all_but_a_positive_number_or_time(mistake: Mistake, text: str) -> None:
    mistake([*REACH, f"--until={text}"], "--until", "positive", "90min")


def test_an_invalid_file_is_not_blamed_on_a_valid_override(
    mistake: Mistake, tmp_path: Path
) -> None:
    path = write(tmp_path / "x.json", {"env": {"tasks": ["push-v3"]}, "sac": {"tau": 5}})
    mistake([f"--config={path}", "--set", "sac.plr=1e-3"], f"{path}: sac.tau")


# --- the task ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "task"),
    [
        (("--task_id", "9"), "window-close-v3"),
        (("--task", "box-close-v3"), "box-close-v3"),  # outside MT10, with the base configuration
        (("--set", 'env.tasks=["push-v3"]'), "push-v3"),
        (("--config", "pair.json", *REACH), "reach-v3"),  # instead of the file's
    ],
)
def test_a_task_is_selected_by_a_flag_or_a_field(
    tmp_path: Path, argv: tuple[str, ...], task: str
) -> None:
    env = {"name": "MT2", "tasks": ["push-v3", "door-open-v3"]}
    write(tmp_path / "pair.json", {"env": env})
    asked = requested(*argv)
    assert asked.config.env.tasks == [task]
    assert asked.folder.parts[-2:] == (task, "1")


def test_several_tasks_need_another_starter_and_a_config(mistake: Mistake, tmp_path: Path) -> None:
    env = {"tasks": ["reach-v3", "push-v3"], "num_envs": 2}
    mistake(["--config", write(tmp_path / "mt2.json", {"env": env})], "env.tasks", "mt_sac.py")
    mistake([], "--config", multi_task=True)
    mistake(["--config", "x.json", "--task_id", "3"], "--task_id", multi_task=True)


# --- the other flags -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv", [("st_sac", *REACH, "--init_from"), ("play", "--run"), ("plot",), ("diagnose",)]
)
def test_a_file_name_that_is_too_long_is_a_one_line_error(
    argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_starter(*argv, "x" * 300) == 2
    one_line(capsys.readouterr().err, "File name too long")


@pytest.mark.parametrize(
    ("text", "until"),
    [
        ("1e6", Until("frames", 10**6)),
        ("90min", Until("core_hours", 1.5)),
        ("0.25h", Until("core_hours", 0.25)),
        ("1e-3 h", Until("core_hours", 1e-3)),
    ],
)
def test_until_accepts_frames_and_core_hours(text: str, until: Until) -> None:
    assert flags.until(text) == until


# --- the device ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "count", "available"),
    [
        ("cuda", 0, "cpu"),
        ("cuda:2", 2, "cpu, cuda:0, cuda:1"),
        ("cuda:01", 2, "cpu, cuda:0, cuda:1"),
        ("cpu:0", 0, "cpu"),
    ],
)
def test_a_missing_device_lists_the_available_ones(
    mistake: Mistake, monkeypatch: pytest.MonkeyPatch, device: str, count: int, available: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    mistake([*REACH, "--device", device], "--device", f"'{device}'", available)


def test_a_gpu_that_does_not_work_is_a_one_line_error(
    mistake: Mistake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver counts GPUs that this build of torch cannot use."""

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    error = RuntimeError("The NVIDIA driver on your system is too old.\nUpdate it.")
    monkeypatch.setattr(torch, "ones", Mock(side_effect=error))
    words = ("--device", "cuda:0", "driver on your system is too old", "choose cpu")
    mistake([*REACH, "--device", "auto"], *words)


def test_without_a_gpu_the_device_is_the_cpu(
    mistake: Mistake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert find_device("auto") == torch.device("cpu")
    assert config_of(*REACH).system.accel == "eager"
    mistake([*REACH, "--set", "system.accel=graph"], "system.accel")
    with pytest.raises(UserError, match=r"^system\.accel"):
        make_learner(load_config({"env": {"tasks": ["reach-v3"]}}, "system.accel=graph"))


@pytest.mark.parametrize(
    ("limit", "expected"), [("max 100000", 8), ("250000 100000", 3), ("900000 100000", 8)]
)
def test_auto_counts_the_cores_that_a_container_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    quota = tmp_path / "cpu.max"
    assert cores(quota) == 8
    quota.write_text(f"{limit}\n")
    assert cores(quota) == expected


@pytest.mark.parametrize(
    ("limit", "expected"), [("3", 3), ("3,2", 3), ("64", 8), ("", 8), ("0", 8), ("many", 8)]
)
def test_auto_follows_the_thread_limit_that_torch_follows(
    monkeypatch: pytest.MonkeyPatch, limit: str, expected: int
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    system = resolve(config_of(*REACH, "--set", "env.num_envs=4")).system
    assert (system.threads, system.workers) == (expected, 4)


def test_cpus_of_several_generations_have_several_names(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    assert cpu_name(info) and "family" not in cpu_name(info)  # macOS has no such file
    core = "processor\t: {}\ncpu family\t: {}\nmodel\t\t: 1\nmodel name\t: AMD EPYC\n\n"
    for family in (25, 26):
        info.write_text(core.format(0, family) + core.format(1, 99))
        assert cpu_name(info) == f"AMD EPYC (cpu family {family}, model 1)"
    info.write_text("processor\t: 0\nCPU implementer\t: 0x41\n")  # ARM names no model
    assert cpu_name(info) == cpu_name(tmp_path / "none")


@pytest.mark.parametrize(
    ("num_envs", "group_size", "workers"), [(1, 1, 0), (2, 2, 0), (2, 1, 2), (4, 2, 2), (9, 1, 3)]
)
def test_auto_uses_all_cores_with_at_most_one_worker_per_group(
    num_envs: int, group_size: int, workers: int
) -> None:
    env = {"tasks": ["reach-v3"], "num_envs": num_envs, "group_size": group_size}
    system = resolve(load_config({"env": env}), cores=3).system
    assert (system.workers, system.threads) == (workers, 3)
    demos = resolve(load_config({"env": env, "train": {"demos": "x"}})).train.demos
    assert demos == str(Path("x").absolute())  # the run may be resumed elsewhere


def test_a_learner_has_its_seed_and_the_settings_of_its_configuration() -> None:
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    env, system = {"tasks": ["reach-v3"]}, {"threads": 2, "matmul_precision": "high"}
    try:
        one, other = (
            make_learner(load_config({"env": env, "system": system}), seed=seed, device="cpu")
            for seed in (1, 2)
        )
        assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == (2, "high")
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])
    pairs = zip(one.actor.parameters(), other.actor.parameters(), strict=True)
    assert not any(torch.equal(*pair) for pair in pairs if pair[0].ndim > 1 and pair[0].any())


# --- the configuration ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "critic", "expected", "scale"),
    [
        ("v1", "scalar", "ema", DeviationScale),
        ("v2", "scalar", None, None),
        ("v1", "c51", "return", ReturnScale),
    ],
)
def test_rewards_are_normalised_by_default_for_v1_rewards_and_bounded_critics(
    version: str, critic: str, expected: str | None, scale: type | None
) -> None:
    """By a run, and by a custom training loop."""
    fields = {"env.reward_version": version, "net.critic.kind": critic}
    assert config_of(*REACH, *sets(fields)).env.reward_normalization == expected
    own = reward_scale(load_config(tree_of(fields | {"env.tasks": ["reach-v3"]})))
    assert type(own) is scale if scale else own is None


# --- the run directory ---------------------------------------------------------------------------

PLACE = "log/MT10_Individual_Tasks/reach-v3/1"


@pytest.mark.parametrize(
    ("argv", "folder"),
    [
        ((), PLACE),  # which exists and is empty
        (("--seed", str(2**31 - 1)), f"log/MT10_Individual_Tasks/reach-v3/{2**31 - 1}"),
        (("--log_dir", "runs/new"), "runs/new/MT10_Individual_Tasks/reach-v3/1"),
        (("--config", "sub/fast.v2.yaml"), "log/fast.v2/reach-v3/1"),
        (("--config", "named.json", "--id", "mine"), "log/mine/reach-v3/1"),
    ],
)
def test_the_run_directory_follows_from_the_flags(
    tmp_path: Path, argv: tuple[str, ...], folder: str
) -> None:
    write(tmp_path / "sub" / "fast.v2.yaml", {"train": {"num_epochs": 1}})
    write(tmp_path / "named.json", {"algo": "sac"})
    (tmp_path / PLACE).mkdir(parents=True)
    assert requested(*REACH, *argv).folder == tmp_path / folder


def test_a_nonempty_directory_is_not_touched(mistake: Mistake, tmp_path: Path) -> None:
    write(tmp_path / PLACE / "notes.txt", "mine")
    before = contents(tmp_path)
    mistake(REACH, "MT10_Individual_Tasks/reach-v3/1", "--resume", "--id", "--seed")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("place", ["log", "log/x/reach-v3/1"])
def test_a_file_in_place_of_a_directory_is_a_one_line_error(
    mistake: Mistake, tmp_path: Path, place: str
) -> None:
    write(tmp_path / place, "a file")
    mistake([*REACH, "--id", "x"], place)


# --- help ----------------------------------------------------------------------------------------


def test_help_config_lists_every_field_and_starts_no_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main("sac", ["--help_config"]) == 0
    out = capsys.readouterr().out
    fields = [key for key, *_ in reference(model("sac", SECTIONS))]
    assert not [field for field in fields if field not in out.split()]
    assert all(part in out for part in ("discount factor", "0.0003", "an integer >= 1"))
    assert contents(tmp_path) == {}


# --- output files of starters --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "arguments"),
    [
        ("--json", ["play", "--pretrained", "reach-v3", "--json"]),
        ("--export", ["play", "--checkpoint", "none.pt", "--export"]),
        ("--out", ["plot", "none", "--out"]),
        ("--out", ["bench", "env", "--out"]),
    ],
)
def test_an_unwritable_output_is_reported_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str, arguments: list[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    assert run_starter(*arguments, file / "below.png") == 2
    error = capsys.readouterr().err
    assert error == f"error: {flag}: {file} cannot be written: {file} is not a folder\n"


def test_a_folder_is_rejected_as_an_output_file(tmp_path: Path) -> None:
    flags.check_file("--json", tmp_path / "new" / "x.json")
    assert not (tmp_path / "new").exists()
    with pytest.raises(UserError, match=f"--json: {tmp_path} is a folder"):
        flags.check_file("--json", tmp_path)
