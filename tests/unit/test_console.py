"""What a person sees of each task: a table with bars on a terminal, a line elsewhere."""

import io
import re

import pytest
from rich.console import Console

from torchrl_lite.reporting.console import LiveView, PlainView, Row

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


def shown(tasks: list[str], *epochs: Row, width: int = 100) -> list[str]:
    """The lines of the live view after these epochs."""
    terminal = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    view = LiveView(terminal, "sac MT3 seed 1", tasks, 1200, 0)
    try:
        for row in epochs:
            view.epoch(row, best=0.5)
        printed = Console(file=io.StringIO(), width=width, color_system=None, record=True)
        printed.print(view)
    finally:
        view.close()
    return printed.export_text().splitlines()


def line_of(task: str, lines: list[str]) -> str:
    (line,) = [line for line in lines if line.strip().startswith(task)]
    return line


def test_every_task_has_a_line_with_a_bar_as_long_as_its_success() -> None:
    lines = shown(TASKS, evaluated(TASKS, SUCCESS))
    for number, (task, success) in enumerate(zip(TASKS, SUCCESS, strict=True)):
        line = line_of(task, lines)
        assert line.count("━") == 12 * success
        assert line.split()[-3:] == [f"{success:.2f}", f"{100 * number}", f"{0.25 * number:.3g}"]


def test_the_table_keeps_the_last_evaluation_and_has_todays_temperatures() -> None:
    later: Row = {"epoch": 5, "total_frames": 900, "train_alpha/push-v3": 0.125}
    words = line_of("push-v3", shown(TASKS, evaluated(TASKS, SUCCESS), later)).split()
    assert words[-3:] == ["0.50", "100", "0.125"]


def test_before_an_evaluation_there_is_a_table_without_numbers() -> None:
    assert line_of("push-v3", shown(TASKS)).split() == ["push-v3", "-", "-", "-"]
    assert not any("push-v3" in line for line in shown(["push-v3"]))  # one task has none


@pytest.mark.parametrize(("width", "columns"), [(60, 1), (320, 5)])
def test_fifty_tasks_stand_in_as_many_columns_as_fit(width: int, columns: int) -> None:
    tasks = [f"task-{number}-v3" for number in range(50)]
    lines = shown(tasks, evaluated(tasks, [0.5] * 50), width=width)
    table = [line for line in lines if "-v3" in line]
    assert len(table) == 50 // columns
    assert re.findall(r"task-\d+-v3", " ".join(line[:20] for line in table)) == tasks[: len(table)]
    assert sorted(re.findall(r"task-\d+-v3", " ".join(table))) == sorted(tasks)


def test_a_pipe_gets_a_line_of_all_tasks_with_every_evaluation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = PlainView("sac MT3 seed 1", TASKS, 1200)
    view.epoch({"epoch": 3, "total_frames": 300}, best=None)
    view.epoch(evaluated(TASKS, SUCCESS), best=0.5)
    title, before, epoch, tasks = capsys.readouterr().out.splitlines()
    assert (title, before) == ("sac MT3 seed 1", "epoch 3  frames 300/1200")
    assert "eval success 0.50" in epoch
    assert tasks.split() == ["success:", *" ".join(
        f"{task} {success:.2f}" for task, success in zip(TASKS, SUCCESS, strict=True)
    ).split()]  # fmt: skip
