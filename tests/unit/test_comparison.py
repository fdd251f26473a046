"""Methods compared on the same budget: their runs, when these are finished, and the table."""

import csv
import json
from pathlib import Path
from typing import Any, get_args

import pytest
from test_plot import Write, write
from test_results import cells
from test_sweep_plan import config_of, trials
from tiny_runs import ROOT, TINY, one_line, rows_of

from torchrl_lite.analysis.axes import Until
from torchrl_lite.analysis.comparison import markdown, rows
from torchrl_lite.analysis.results import AVERAGES
from torchrl_lite.analysis.runs import by_experiment, find_runs
from torchrl_lite.command.flags import parse
from torchrl_lite.config import flat
from torchrl_lite.config.net import NetConfig
from torchrl_lite.config.train import TrainConfig
from torchrl_lite.sweep import command, report
from torchrl_lite.sweep.trial import Trial

__all__ = ["write"]  # a fixture

PENDULUM = str(ROOT / "config" / "mujoco" / "pendulum.json")
PLAN: dict[str, Any] = {
    "starter": "st_sac",
    "config": PENDULUM,
    "set": TINY | {"train.num_epochs": 1000, "train.save_interval": 1},
    "until": "40",
    "methods": {"small": {}, "large": {"net.hidden_shapes": [16]}},
}


def save_plan(folder: Path, **changes: Any) -> str:
    path = folder / "plan.json"
    path.write_text(json.dumps(PLAN | changes))
    return str(path)


def test_the_shipped_comparison_has_every_method_and_changes_nothing_else(tmp_path: Path) -> None:
    found = trials(tmp_path, "--plan", "compare_mt10", "--seeds", "1")
    configs = {trial.folder.parts[-3]: config_of(trial) for trial in found}
    kinds = get_args(NetConfig.model_fields["kind"].annotation)
    gradients = get_args(TrainConfig.model_fields["gradients"].annotation)
    assert configs.keys() == {*kinds, *gradients} - {"mean"}
    for name, config in configs.items():
        kind, combined = (name, "mean") if name in kinds else ("mlp", name)
        assert (config.net.kind, config.train.gradients) == (kind, combined)
        assert config.env == configs["mlp"].env
        assert config.replay_buffer == configs["mlp"].replay_buffer
        assert config.net.hidden_shapes == configs["mlp"].net.hidden_shapes
        assert config.train.lr_schedule == "constant"  # independent of where a run stops


@pytest.mark.parametrize(
    ("plan", "argv"),
    [("compare_fast_st", ["--tasks", "push-v3"]), ("compare_fast_mt10", [])],
)
def test_the_shipped_ablations_change_one_ingredient_at_a_time(
    tmp_path: Path, plan: str, argv: list[str]
) -> None:
    found = trials(tmp_path, "--plan", plan, *argv, "--seeds", "1")
    configs = {trial.folder.parts[-3]: flat(config_of(trial).model_dump()) for trial in found}
    recipe = configs.pop(next(iter(configs)))
    together = [
        {"env.num_envs", "env.group_size"},
        {"env.reward_normalization", "net.critic.bound"},
        {"net.kind", "net.task_input"},  # heads and soft modules replace the embedding
    ]
    for name, config in configs.items():
        changed = {key for key in recipe if config[key] != recipe[key]}
        assert len(changed) == 1 or changed in together, name


def test_a_run_gets_the_fields_of_its_method_and_the_budget(tmp_path: Path) -> None:
    plan = save_plan(tmp_path, methods=PLAN["methods"] | {"slow": {"train.num_epochs": 2}})
    small, large, slow = trials(tmp_path, "--plan", plan)
    assert small.folder == tmp_path / "plan" / "small" / "Pendulum-v1" / "1"
    assert [config_of(t).net.hidden_shapes for t in (small, large, slow)] == [[8], [16], [8]]
    assert [config_of(t).train.num_epochs for t in (small, large, slow)] == [1000, 1000, 2]
    assert {t.until for t in (small, large)} == {Until("frames", 40)}
    assert parse("sac", small.argv, multi_task=False).until == Until("frames", 40)

    other = ["--plan", plan, "--seeds", "7-8", "--until", "90min", "--out", str(tmp_path / "x")]
    found = trials(tmp_path, *other)
    assert [t.folder.name for t in found] == ["7", "8"] * 3
    assert found[0].folder == tmp_path / "x" / "small" / "Pendulum-v1" / "7"
    assert parse("sac", found[0].argv, multi_task=False).until == Until("core_hours", 1.5)


def test_the_configuration_of_a_plan_may_lie_beside_it(tmp_path: Path) -> None:
    base = {"extends": str(Path(PENDULUM).parent / "base.json")}
    (tmp_path / "own.json").write_text(json.dumps(json.loads(Path(PENDULUM).read_text()) | base))
    (trial, *_) = trials(tmp_path, "--plan", save_plan(tmp_path, config="own.json"))
    assert config_of(trial).env.tasks == ["Pendulum-v1"]


def test_a_run_is_finished_when_its_budget_is_used_up(tmp_path: Path) -> None:
    flags = ["--plan", save_plan(tmp_path, seeds="1-2"), "--until", "1.5h"]
    new, *_ = trials(tmp_path, *flags)
    new.folder.mkdir(parents=True)
    (new.folder / "params.json").write_text(config_of(new).model_dump_json())

    def finished(*seconds: float) -> list[bool]:
        lines = ["epoch,total_frames,time/cpu_s"]
        lines += [f"{epoch},{epoch},{s}" for epoch, s in enumerate(seconds, 1)]
        (new.folder / "log.csv").write_text("\n".join(lines) + "\n")
        return [trial.finished for trial in trials(tmp_path, *flags)]

    assert finished(1800, 3599) == [False, False, False, False]
    assert finished(1800, 1800, 1800) == [True, False, False, False]


@pytest.mark.parametrize(
    ("changes", "argv", "words"),
    [
        ({"methods": {"a": 3}}, [], ["methods:", "an object"]),
        ({"until": "1 day"}, [], ["plan.json", "'1 day'", "90min"]),
        ({"config": "fast_mt11"}, [], ["plan.json", "'fast_mt11'", "did you mean 'fast_mt10'?"]),
        ({"methods": {"b": {}, "a": {"env.tasks": []}}}, [], ["methods.a: ", "env.tasks: []"]),
        ({"methods": {"../a": {}}}, [], ["'../a'", "letters"]),
        ({}, ["--set", "net.hidden_shapes=[4]"], ["methods.small: net.hidden_shapes: set a field"]),
        ({}, ["--starter", "st_sac"], ["--starter: not with --plan"]),
    ],
)
def test_a_usage_error_is_one_line(
    tmp_path: Path,
    changes: Any,
    argv: list[str],
    words: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = ["--plan", save_plan(tmp_path, **changes), "--log_dir", str(tmp_path / "log"), *argv]
    assert command.main(flags) == 2
    one_line(capsys.readouterr().err, *words)
    assert not (tmp_path / "log").exists()


def test_the_table_shows_what_runs_reached_within_the_budget(write: Write, tmp_path: Path) -> None:
    """From the log, with evaluations after 1.5, 3 and 4.5 core hours, not from the result."""
    for seed, last in ((1, 0.5), (2, 0.7)):
        folder = write({"a-v3": [0.0, 0.4, 1.0], "b-v3": [0.2, last, 1.0]}, seed=seed)
    write({"a-v3": [0.3], "b-v3": [0.6]}, experiment="slow", finished=False)
    write({"a-v3": [], "b-v3": []}, experiment="none", finished=False)
    experiments = by_experiment(find_runs([folder.parents[2]]))
    until = Until("core_hours", 4.4)
    text = markdown(rows(experiments, until), until)
    assert text.splitlines()[0].endswith("| core hours | success | return | a | b |")
    assert cells(text) == [
        ["exp", "2", "4,000", "200", "3", "0.50", "50.0", "0.40", "0.60"],
        ["none", "0", "-", "-", "-", "-", "-", "-", "-"],
        ["slow", "1", "2,000", "100", "1.5", "0.45", "45.0", "0.30", "0.60"],
    ]
    assert "within 4.4 core hours per run; frames, updates and core hours are means over" in text
    assert "Runs without an evaluation by then: 1 of none." in text
    assert text.endswith(AVERAGES)

    runs = [run for group in experiments.values() for run in group]
    assert report.write(tmp_path / "out", runs, until) == text
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        exp, *_ = csv.DictReader(file)
    assert float(exp["b-v3"]) == pytest.approx(0.6)
    assert exp["success_low"] == ""  # too few seeds
    assert (tmp_path / "out" / "curves.png").stat().st_size > 1000


def test_experiments_are_compared_over_the_same_tasks(write: Write, tmp_path: Path) -> None:
    """A method without a run on the hard task gets no mean, rather than the best one."""
    write({"easy": [1.0]}, experiment="A")
    write({"hard": [0.0]}, experiment="A")
    folder = write({"easy": [0.9]}, experiment="B")
    until = Until("core_hours", 4.4)
    runs = find_runs([folder.parents[2]])
    text = report.write(tmp_path, runs, until, failed=["B/hard/1"])
    assert [row[1:2] + row[5:] for row in cells(text)] == [
        ["1", "0.50", "50.0", "1.00", "0.00"],
        ["0", "-", "-", "0.90", "-"],
    ]
    assert text.endswith("Left out, because they failed: B/hard/1.")
    assert (tmp_path / "results.md").read_text() == f"{text}\n"


def test_a_comparison_continues_with_the_same_command_and_repeats_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = save_plan(tmp_path, methods={"small": {}})
    flags = ["--plan", plan, "--log_dir", str(tmp_path), "--jobs", "1"]

    def compare(*more: str) -> tuple[str, list[Trial], list[list[str]]]:
        assert command.main([*flags, *more]) == 0
        found = trials(tmp_path, *flags[:2], *more)
        epochs = [[row["epoch"] for row in rows_of(trial.folder)] for trial in found]
        return capsys.readouterr().out, found, epochs

    out, found, epochs = compare()
    assert "1 runs, 0 already finished" in out
    assert epochs == [["1", "2", "3", "4"]]
    assert not any((trial.folder / "result.json").exists() for trial in found)
    assert [row[:4] for row in cells(out)] == [["small", "1", "40", "6"]]
    assert (tmp_path / "plan" / "results.md").read_text() in out

    console = found[0].folder / "console.log"
    before = console.read_bytes()
    out, *_ = compare()
    assert "1 runs, 1 already finished" in out
    assert console.read_bytes() == before

    out, _, epochs = compare("--until", "60")
    assert epochs == [["1", "2", "3", "4", "5", "6"]]
    assert [row[2:4] for row in cells(out)] == [["60", "10"]]
