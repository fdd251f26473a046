"""The results table of a sweep and the progress of its runs."""

import csv
from dataclasses import replace
from io import StringIO
from pathlib import Path
from unittest.mock import Mock

import pytest
from rich.console import Console
from test_plot import Write, write

from torchrl_lite.analysis.axes import Until
from torchrl_lite.analysis.runs import Run
from torchrl_lite.sweep import report
from torchrl_lite.sweep.progress import Line, Logged, Logs, PlainView, table
from torchrl_lite.sweep.trial import Trial

__all__ = ["write"]  # a fixture


def test_tasks_without_success_are_reported_by_return(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [Run(write({"a": [0.1, 0.1 * seed]}, seed=seed, env="a")) for seed in (1, 2)]
    for run in runs:
        for name in ("log.csv", "result.json"):
            text = (run.path / name).read_text()
            (run.path / name).write_text(text.replace("eval_success/a", "elsewhere"))
    curves = Mock()
    monkeypatch.setattr(report, "learning_curves", curves)
    text = report.write(tmp_path / "out", runs)
    assert curves.call_args.kwargs["metric"] == "return"
    assert "| exp | a | 2 | 5,000 | - | 15.0 |" in text
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert [row[f"success{part}"] for part in ("", "_low", "_high")] == [""] * 3
    assert float(row["return"]) == pytest.approx(15)


def test_progress_is_read_from_the_log(tmp_path: Path) -> None:
    log, logs = tmp_path / "log.csv", Logs()
    trial = Trial("st_sac", (), tmp_path, 1000, False)
    assert logs.read(trial) == Logged(0, None, 1000, None)
    log.write_text(
        "epoch,total_frames,eval/success_rate,time/update_s,time/total_s,time/cpu_s\n"
        "1,100,,,4,10\n"  # random actions, no basis for the time left
        "2,200,0.5,0.5,1,2\n"
        "3,300,,0.5,3,6\n"
    )
    logged = logs.read(trial)
    assert logged == Logged(300, 0.5, 1000, pytest.approx(700 * 4 / 200))
    for until, total in (
        (Until("frames", 400), 400),
        (Until("core_hours", 38 / 3600), 800),  # 20 s are left, at 8 s for 200 frames
    ):
        short = Logs().read(replace(trial, until=until))
        assert short == Logged(300, 0.5, total, pytest.approx((total - 300) * 4 / 200))
    with log.open("a") as file:
        file.write("4,400")  # an incomplete line
    assert logs.read(trial) == logged


def progress_lines(tmp_path: Path) -> list[Line]:
    def trial(seed: int) -> Trial:
        return Trial("st_sac", (), tmp_path / "exp" / "env" / str(seed), 20_000, False)

    return [
        Line(trial(1), "done", None, Logged(20_000, 1.0, 20_000, 0.0)),
        Line(trial(2), "running", "10.0.0.7", Logged(5_000, 0.25, 20_000, 7_500.0)),
        Line(trial(3), "failed", None, Logged(300, None, 20_000, 9_850.0)),
        Line(trial(4), "waiting", None, Logged()),
    ]


def test_the_live_table_shows_running_and_failed_runs(tmp_path: Path) -> None:
    screen = StringIO()
    Console(file=screen, width=120).print(table(progress_lines(tmp_path)))
    title, _, *rows = (line.split() for line in screen.getvalue().splitlines())
    assert " ".join(title) == "4 runs: 1 running, 1 waiting, 1 done, 1 failed"
    left = ["2:05", "h"]
    assert rows == [
        ["exp/env/2", "running", "10.0.0.7", "5,000", "/", "20,000", "0.25", *left],
        ["exp/env/3", "failed", "300", "/", "20,000", "-", "-"],
    ]


def test_a_pipe_gets_one_line_per_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    view, (done, running, failed, waiting) = PlainView(), progress_lines(tmp_path)
    view.show([waiting._replace(trial=running.trial)])
    view.show([running, waiting])
    view.show([running, waiting])
    view.show([running._replace(node="10.0.0.8"), failed, done])
    assert capsys.readouterr().out.splitlines() == [
        "exp/env/2: running on 10.0.0.7",
        "exp/env/2: running on 10.0.0.8",
        "exp/env/3: failed",
        "exp/env/1: done",
    ]
