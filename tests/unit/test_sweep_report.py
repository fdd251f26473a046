"""The table of a sweep, by hand; and how far its runs are."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from test_plot import Write, write

from torchrl_lite.analysis.axes import Until
from torchrl_lite.analysis.runs import Run
from torchrl_lite.sweep import report
from torchrl_lite.sweep.progress import Line, Logged, Logs
from torchrl_lite.sweep.trial import Trial

__all__ = ["write"]  # a fixture


def test_a_sweep_ends_in_a_table_a_csv_and_curves(write: Write, tmp_path: Path) -> None:
    runs = [Run(write({"a": [value]}, seed=seed)) for seed, value in enumerate([0.0, 1.0])]
    text = report.write(tmp_path / "out", runs)
    assert "| exp | a | 2 | 3,000 | 0.50 | 50.0 |" in text
    assert (tmp_path / "out" / "results.md").read_text() == text + "\n"
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["experiment"], row["task"], row["seeds"], row["success"]) == (
        "exp",
        "a",
        "2",
        "0.5",
    )
    assert (tmp_path / "out" / "curves.png").stat().st_size > 1000


def test_progress_is_what_the_log_says(tmp_path: Path) -> None:
    log, logs = tmp_path / "log.csv", Logs()
    assert logs.read(tmp_path) == Logged(0, None, None)
    log.write_text(
        "epoch,total_frames,eval/success_rate,time/total_s\n1,100,,4\n2,200,0.5,1\n3,300,,3\n"
    )
    logged = logs.read(tmp_path)
    assert logged == Logged(300, 0.5, pytest.approx((1 + 3) / 200))
    trial = Trial("st_sac", (), tmp_path, 1000, False)
    assert Line(trial, "running", "here", logged).seconds_left == pytest.approx(700 * 4 / 200)
    assert Line(trial, "waiting", None, logged).seconds_left is None
    soon = replace(trial, until=Until("core_hours", 0.5))
    halfway = Line(soon, "running", "here", logged._replace(core_hours=0.25))
    assert halfway.total_frames == 600
    assert halfway.seconds_left == pytest.approx(300 * 4 / 200)
    with log.open("a") as file:
        file.write("4,400")  # a line that is being written
    assert logs.read(tmp_path) == logged
