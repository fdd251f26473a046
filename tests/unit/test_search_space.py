"""Which search spaces are valid; others are rejected before anything starts."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import one_line

from torchrl_lite.sweep import command
from torchrl_lite.sweep.search.space import read_space, suggest

optuna = pytest.importorskip("optuna", reason="the extra [search] is not installed")
ONE = ["--starter", "st_sac", "--tasks", "0"]


def space_in(folder: Path, fields: Any) -> Path:
    path = folder / "space.json"
    path.write_text(json.dumps(fields))
    return path


def test_a_range_takes_the_type_of_its_field(tmp_path: Path) -> None:
    """A range given in integers may be one of floats: the field decides."""
    fields = {
        "sac.discount": {"low": 0, "high": 1},
        "sac.qlr": {"low": 1e-4, "high": 1e-2, "log": True},
        "sac.alpha": {"low": 1, "high": 2},  # may also be "auto"
        "train.opt_steps": {"low": 1, "high": 4},
        "train.batch_size": {"low": 2, "high": 32, "log": True},
        "net.hidden_shapes": [[16, 16]],
        "net.residual": [False],
        "curriculum.difficulty.reach-v3": {"low": 0, "high": 1},  # an entry of a mapping
    }
    kinds = optuna.distributions
    trial = optuna.create_study().ask()
    setting = suggest(read_space(space_in(tmp_path, fields)), trial, "sac")
    assert (setting["net.hidden_shapes"], setting["net.residual"]) == ([16, 16], False)
    drawn = {key: kind for key, kind in trial.distributions.items() if not key.startswith("net.")}
    assert drawn == {
        "sac.discount": kinds.FloatDistribution(0, 1),
        "sac.qlr": kinds.FloatDistribution(1e-4, 1e-2, log=True),
        "sac.alpha": kinds.FloatDistribution(1, 2),
        "train.opt_steps": kinds.IntDistribution(1, 4),
        "train.batch_size": kinds.IntDistribution(2, 32, log=True),
        "curriculum.difficulty.reach-v3": kinds.FloatDistribution(0, 1),
    }


ONE_TRIAL, QLR = ["--trials", "1"], {"sac.qlr": {"low": 1e-4, "high": 1e-3}}


@pytest.mark.parametrize(
    ("fields", "argv", "words"),
    [
        ({"env.tasks": [["push-v3"]]}, ONE_TRIAL, ["--search: env.tasks", "of --tasks"]),
        ({"sac.qlr": {"low": 0, "high": 1}}, ONE_TRIAL, ["sac.qlr: 0", "must be a number > 0"]),
        ({"net.kind": ["mlp", "care"]}, ONE_TRIAL, ["net.kind", "needs several tasks"]),
        ({"sac.qlr": {"low": 2, "high": 1}}, ONE_TRIAL, ["sac.qlr: low: 2 must be below high"]),
        ({"sac.tau": {"low": 0, "high": 1, "log": True}}, ONE_TRIAL, ["sac.tau: low: 0 must be"]),
        ({"sac.qlr": 1e-3}, ONE_TRIAL, ["sac.qlr: 0.001 is not allowed", "a list of values, or"]),
        ({"sac.qlr": [1e-3, 1e-3]}, ONE_TRIAL, ["sac.qlr: a value occurs twice"]),
        ({}, ONE_TRIAL, ["space.json: names no field"]),
        (QLR, [], ["--trials: is missing"]),
        (QLR, ["--sampler", "grid"], ["sac.qlr: --sampler grid needs a list"]),
        (QLR, [*ONE_TRIAL, "--set", "sac.qlr=1"], ["sac.qlr: set a"]),
        (QLR, [*ONE_TRIAL, "--grid", "sac.tau=[1]"], ["--grid: not"]),
        (QLR, [*ONE_TRIAL, "--starter", "st_sac", "st_td3"], ["--starter: a search has"]),
        (None, ONE_TRIAL, ["--trials: only with --search"]),
        (None, ["--jobs", "2", "--address", "auto"], ["--jobs: is without Ray"]),
    ],
    ids=str,
)
def test_an_invalid_space_or_flag_is_rejected_before_anything_starts(
    tmp_path: Path,
    fields: Any,
    argv: list[str],
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    search = [] if fields is None else ["--search", str(space_in(tmp_path, fields))]
    assert command.main([*ONE, *search, *argv]) == 2
    one_line(capsys.readouterr().err, *words)
    assert {path.name for path in tmp_path.iterdir()} <= {"space.json"}
