"""The progress of each task: a table with bars on a terminal, a line elsewhere."""

import io
import re
from contextlib import closing

import pytest
from rich.console import Console

from torchrl_lite.analysis.axes import Until
from torchrl_lite.env.metaworld import TASKS as MW_TASKS
from torchrl_lite.reporting.console import PlainView, Row
from torchrl_lite.reporting.forecast import Forecast
from torchrl_lite.reporting.live import LiveView
from torchrl_lite.reporting.rows import Past
from torchrl_lite.training.budget import Budget

TASKS = ["reach-v3", "push-v3", "button-press-topdown-wall-v3"]
SUCCESS = [0.0, 0.5, 1.0]


def evaluated(tasks: list[str], successes: list[float]) -> Row:
    """An epoch with an evaluation."""
    row: Row = {"epoch": 4, "total_frames": 600, "eval/success_rate": 0.5, "eval/return": 150.0}
    for number, (task, success) in enumerate(zip(tasks, successes, strict=True)):
        row[f"eval_success/{task}"] = success
        row[f"eval_return/{task}"] = 100.0 * number
        row[f"train_alpha/{task}"] = 0.25 * number
    return row


def view_of(tasks: list[str], *, width: int = 100, height: int = 60) -> LiveView:
    terminal = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None
    )
    return LiveView(terminal, "sac MT3 seed 1", tasks, 1200, 0)


def lines_of(view: LiveView, *, width: int = 100) -> list[str]:
    printed = Console(file=io.StringIO(), width=width, color_system=None, record=True)
    printed.print(view)
    return printed.export_text().splitlines()


def shown(tasks: list[str], *epochs: Row, width: int = 100, height: int = 60) -> list[str]:
    """The lines of the live view after these epochs."""
    with closing(view_of(tasks, width=width, height=height)) as view:
        for row in epochs:
            view.epoch(row, best=0.5)
        return lines_of(view, width=width)


def line_of(task: str, lines: list[str]) -> str:
    (line,) = [line for line in lines if line.strip().startswith(task)]
    return line


def test_every_task_has_a_line_with_a_bar_for_its_success() -> None:
    lines = shown(TASKS, evaluated(TASKS, SUCCESS))
    for number, (task, success) in enumerate(zip(TASKS, SUCCESS, strict=True)):
        line = line_of(task, lines)
        assert line.count("━") == 12 * success
        assert line.split()[-3:] == [f"{success:.2f}", f"{100 * number}", f"{0.25 * number:.3g}"]


def test_before_the_first_evaluation_the_table_has_no_numbers() -> None:
    assert line_of("push-v3", shown(TASKS)).split() == ["push-v3", "-", "-", "-"]
    assert not any("push-v3" in line for line in shown(["push-v3"]))  # a single task has no table


def test_a_resumed_view_shows_the_last_evaluation_and_the_current_temperatures() -> None:
    with closing(view_of(TASKS)) as view:
        later: Row = {"epoch": 5, "total_frames": 900, "train_alpha/push-v3": 0.125}
        view.resume([evaluated(TASKS, SUCCESS), later], best=0.75)
        lines = lines_of(view)
    assert line_of("push-v3", lines).split()[-3:] == ["0.50", "100", "0.125"]
    text = "\n".join(lines)
    for part in ("epoch 5", "900/1,200 frames", "evaluation at 600", "best success 0.75"):
        assert part in text


@pytest.mark.parametrize(
    ("width", "height", "num_tasks"), [(80, 24, 3), (200, 14, 10), (120, 24, 50), (120, 45, 50)]
)
def test_the_view_fits_the_terminal_and_shows_the_worst_tasks(
    width: int, height: int, num_tasks: int
) -> None:
    tasks = list(MW_TASKS[:num_tasks])
    successes = [(7 * number % num_tasks) / num_tasks for number in range(num_tasks)]
    lines = shown(tasks, evaluated(tasks, successes), width=width, height=height)
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    visible = [task for task in tasks if re.search(rf"(^|\s){task}\s", text, re.M)]
    worst = sorted(tasks, key=lambda task: successes[tasks.index(task)])
    assert set(visible) == set(worst[: len(visible)])
    assert visible
    rest = re.search(r"and (\d+) more, success ([\d.]+) to ([\d.]+)", text)
    assert len(visible) + (int(rest[1]) if rest else 0) == num_tasks
    if rest:
        others = [successes[tasks.index(task)] for task in worst[len(visible) :]]
        assert (rest[2], rest[3]) == (f"{min(others):.2f}", f"{max(others):.2f}")


def epochs(count: int, *, evaluation_s: float, start: int = 1) -> list[Row]:
    """100 frames in 2 s each; every tenth has an evaluation, the first three random actions."""
    rows: list[Row] = []
    for epoch in range(start, start + count):
        updates_s = 0.0 if epoch <= 3 else 1.0
        evaluated_s = evaluation_s if epoch % 10 == 0 else 0.0
        row: Row = {"epoch": epoch, "total_frames": 100 * epoch, "time/update_s": updates_s}
        total_s = 1.0 + updates_s + evaluated_s
        rows.append(row | {"time/total_s": total_s, "time/eval_s": evaluated_s or None})
    return rows


@pytest.mark.parametrize(("evaluation_s", "seen"), [(0.0, 20), (5.0, 25), (80.0, 400)])
def test_the_forecast_includes_evaluations(evaluation_s: float, seen: int) -> None:
    """Whether the last one was recent or long ago."""
    forecast = Forecast()
    for row in epochs(seen, evaluation_s=evaluation_s):
        forecast.add(row)
    rest = epochs(1000, evaluation_s=evaluation_s, start=seen + 1)
    taken = sum(float(row["time/total_s"] or 0) for row in rest)
    assert forecast.seconds(100_000) == pytest.approx(taken, rel=0.01)
    share = evaluation_s / (evaluation_s + 20)
    assert forecast.evaluation_share == (pytest.approx(share) if evaluation_s else None)


def test_the_forecast_of_a_resumed_run_ignores_unknown_epochs() -> None:
    """It needs two epochs since the resume, and counts no epoch as 49,000 frames."""
    forecast = Forecast()
    first, *later = [*epochs(1, evaluation_s=0, start=10), *epochs(3, evaluation_s=0, start=500)]
    forecast.add(first)
    assert forecast.seconds(100) is None
    for row in later:
        forecast.add(row)
    assert forecast.seconds(100) == pytest.approx(2.0)


def test_the_forecast_includes_saving() -> None:
    forecast = Forecast()
    for row in epochs(20, evaluation_s=0):
        forecast.add(row | {"time/save_s": 3.0})
    assert forecast.seconds(100) == pytest.approx(5.0)


def test_the_time_left_counts_down_between_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("torchrl_lite.reporting.live.time.monotonic", lambda: now)
    with closing(view_of(TASKS)) as view:
        for row in epochs(8, evaluation_s=0):  # of 12: 8 s are left
            view.epoch(row, best=None)
        now += 3
        assert lines_of(view)[1].startswith("0:00:05 left")


def test_core_hours_are_converted_to_frames_at_the_pace_of_the_latest_epochs() -> None:
    budget = Budget(Until("core_hours", 0.02))  # 72 s
    rows: list[Row] = [
        row | {"time/cpu_s": 10 * float(row["time/update_s"] or 0.5), "time/eval_s": 7.0}
        for row in epochs(5, evaluation_s=5)
    ]
    for row in rows[:3]:  # random actions, 5 s each, do not count
        budget.add(row)
    assert budget.total_frames(10_000, done=300) == 10_000
    budget.add(rows[3])
    assert budget.total_frames(10_000, done=400) == 400 + 470  # 47 s at 10 s for 100 frames
    assert budget.total_frames(600, done=400) == 600
    resumed = Budget(budget.until)
    resumed.resume(Past((), 4, core_hours=62 / 3600, latest=rows))
    assert resumed.total_frames(10_000, done=500) == 600
    assert not resumed.is_used_up(500)
    resumed.add(rows[4])
    assert resumed.is_used_up(600)
    assert resumed.total_frames(10_000, done=600) == 600


def test_a_long_phase_shows_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("torchrl_lite.reporting.live.time.monotonic", lambda: now)
    with closing(view_of(TASKS)) as view:
        view.phase("evaluating")
        view.progress(20, 1500)
        now += 34.4
        assert any("evaluating 20 of 1,500, 34 s" in line for line in lines_of(view))
        view.phase("saving")
        assert lines_of(view)[1].split()[-1] == "saving"


def test_a_pipe_gets_a_line_with_all_tasks_after_every_evaluation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = PlainView("sac MT3 seed 1", TASKS, 1200)
    rates: Row = {"rate/frames_per_second": 123.4, "rate/updates_per_second": 56.7}
    view.epoch({"epoch": 3, "total_frames": 300} | rates, best=None)
    view.epoch(evaluated(TASKS, SUCCESS), best=0.5)
    title, before, epoch, tasks = capsys.readouterr().out.splitlines()
    assert title == "sac MT3 seed 1"
    assert before == "epoch 3  frames 300/1200  frames/s 123  updates/s 57"
    assert "eval success 0.50" in epoch
    assert tasks.split() == ["success:", *" ".join(
        f"{task} {success:.2f}" for task, success in zip(TASKS, SUCCESS, strict=True)
    ).split()]  # fmt: skip


def test_until_beyond_the_end_is_the_whole_run() -> None:
    totals = [Budget(Until("frames", n)).total_frames(300, done=0) for n in (200, 500)]
    assert totals == [200, 300]
