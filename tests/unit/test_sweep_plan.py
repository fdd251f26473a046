"""Which runs a sweep consists of, and what is rejected before anything starts; without Ray."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import ROOT, one_line

from torchrl_lite.command.flags import parse
from torchrl_lite.command.options import request, resolve
from torchrl_lite.errors import UserError
from torchrl_lite.sweep import command
from torchrl_lite.sweep.plan import Trial, plan

PENDULUM = str(ROOT / "config" / "mujoco" / "pendulum.json")
SAC = ["--starter", "st_sac"]
ONE = [*SAC, "--tasks", "0"]


def trials(log_dir: Path, *argv: str) -> list[Trial]:
    return plan(command.parse(["--log_dir", str(log_dir), *argv]))


def folders(log_dir: Path, *argv: str) -> list[str]:
    return [str(trial.folder.relative_to(log_dir)) for trial in trials(log_dir, *argv)]


def config_of(trial: Trial) -> Any:
    """As the starter itself reads the flags."""
    kind, algo = trial.starter.split("_")
    args = parse(algo, trial.argv, multi_task=kind == "mt")
    return resolve(request(args, algo, multi_task=kind == "mt").config)


def test_starters_tasks_and_seeds_are_combined(tmp_path: Path) -> None:
    found = folders(
        tmp_path, "--starter", "st_sac", "st_td3", "--tasks", "0,4-5,hammer-v3", "--seeds", "1-2,7"
    )
    assert found == [
        f"MT10_Individual_Tasks{suffix}/{task}/{seed}"
        for suffix in ("", "_td3")
        for task in ("reach-v3", "drawer-open-v3", "drawer-close-v3", "hammer-v3")
        for seed in (1, 2, 7)
    ]


def test_each_grid_value_is_its_own_experiment(tmp_path: Path) -> None:
    grid = ["--grid", "sac.plr=[1e-4, 3e-4]", "--grid", "net.hidden_shapes=[[8],[16,16]]"]
    found = trials(tmp_path, "--starter", "st_sac", "st_td3", "--config", PENDULUM, *grid)
    names = {trial.folder.parts[-3]: config_of(trial) for trial in found}
    assert {name: config.net.hidden_shapes for name, config in names.items()} == {
        "pendulum-sac.plr_0.0001-net.hidden_shapes_8": [8],
        "pendulum-sac.plr_0.0001-net.hidden_shapes_16-16": [16, 16],
        "pendulum-sac.plr_0.0003-net.hidden_shapes_8": [8],
        "pendulum-sac.plr_0.0003-net.hidden_shapes_16-16": [16, 16],
        "pendulum_td3-net.hidden_shapes_8": [8],  # not once for each value of sac.plr
        "pendulum_td3-net.hidden_shapes_16-16": [16, 16],
    }
    assert [c.agent.plr for c in names.values()] == [1e-4, 1e-4, 3e-4, 3e-4, 1e-3, 1e-3]


def test_a_run_uses_the_requested_cores(tmp_path: Path) -> None:
    mt10 = ["--starter", "mt_sac", "--config", str(ROOT / "config" / "mt10.json")]
    few, many = (config_of(*trials(tmp_path, *mt10, "--cpus", n)).system for n in ("1", "6"))
    groups = 2  # of five environments
    assert (few.threads, few.workers) == (1, 1)
    assert (many.threads, many.workers) == (6, groups)
    (own,) = trials(tmp_path, *mt10, "--cpus", "6", "--set", "system.threads=3")
    assert config_of(own).system.threads == 3


def test_a_share_of_a_gpu_selects_cuda(tmp_path: Path) -> None:
    for share, device in (("0.25", "cuda"), ("2", "cuda"), ("0", "cpu")):
        (trial,) = trials(tmp_path, *ONE, "--gpus", share)
        assert parse("sac", trial.argv, multi_task=False).device == device


def test_a_run_is_finished_when_its_result_has_all_epochs(tmp_path: Path) -> None:
    flags = [*SAC, "--config", PENDULUM, "--seeds", "1-2"]
    new, _ = trials(tmp_path, *flags)
    new.folder.mkdir(parents=True)
    (new.folder / "params.json").write_text(config_of(new).model_dump_json())
    (new.folder / "result.json").write_text(json.dumps({"epochs": 100, "frames": 1}))
    assert [trial.finished for trial in trials(tmp_path, *flags)] == [True, False]
    longer = [*flags, "--set", "train.num_epochs=96"]
    assert [trial.finished for trial in trials(tmp_path, *longer)] == [False, False]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--starter", "st_sacc", "--tasks", "0"], ["--starter", "did you mean 'st_sac'?"]),
        (SAC, ["env.tasks: no task"]),
        ([*SAC, "--tasks", "9-1"], ["--tasks: '9-1'", "of at most 10000"]),
        ([*ONE, "--seeds", "1,1"], ["two runs"]),
        ([*ONE, "--seeds", ""], ["--seeds: ''"]),
        ([*ONE, "--grid", "sac.plr=3"], ["--grid", "list"]),
        ([*ONE, "--grid", "sac.plr=[1,1]"], ["twice"]),
        ([*ONE, "--grid", "td3.plr=[1]"], ["trains td3"]),
        ([*ONE, "--grid", "sac.plr=[1]", "--grid", 'sac=[{"plr":2}]'], ["sac, and sac.plr: set"]),
        ([*ONE, "--set", "sac.plr=1e-4", "--grid", "sac.plr=[3e-4]"], ["sac.plr: set a field"]),
        ([*ONE, "--grid", 'env.tasks=[["push-v3"]]'], ["--grid: env.tasks", "of --tasks"]),
        ([*ONE, "--grid", f"net.hidden_shapes=[{[8] * 200}]"], ["--grid", "8-8", "is longer than"]),
        ([*ONE, "--address", "ray://head:10001"], ["--address", '"auto" or HOST:PORT']),
        (["--starter", "mt_sac", "--tasks", "0"], ["--tasks", "omit --tasks"]),
    ],
)
def test_invalid_arguments_exit_with_code_2(
    tmp_path: Path, argv: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--log_dir", str(tmp_path / "log"), *argv]) == 2
    one_line(capsys.readouterr().err, *words)
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("which", [[*SAC, "--config", PENDULUM], ONE])
@pytest.mark.parametrize(
    ("first", "again"), [([], ["--set", "sac.tau=0.5"]), (["--set", "sac.tau=0.5"], [])]
)
def test_a_different_configuration_is_rejected_before_anything_starts(
    tmp_path: Path,
    which: list[str],
    first: list[str],
    again: list[str],
) -> None:
    """Also without --config, and when the sweep drops a setting of the run."""
    flags = ["--log_dir", str(tmp_path), *which]
    (trial,) = trials(tmp_path, *flags, *first)
    trial.folder.mkdir(parents=True)
    (trial.folder / "params.json").write_text(config_of(trial).model_dump_json())
    assert trials(tmp_path, *flags, *first)[0].folder == trial.folder
    with pytest.raises(UserError, match=r"^sac.tau: the run in"):
        trials(tmp_path, *flags, *again)


def test_an_unwritable_folder_is_reported_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    argv = [*ONE, "--log_dir", str(tmp_path / "log"), "--out", str(file / "deep")]
    assert command.main([*argv, "--address", "no:1"]) == 2
    one_line(capsys.readouterr().err, "--out: ", f"deep cannot be written: {file} is not a folder")
