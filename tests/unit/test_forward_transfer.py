"""Forward transfer against areas computed by hand."""

import json
from pathlib import Path

import pytest
from helpers import error_of
from tiny_runs import one_line, run_starter

from torchrl_lite.analysis.forward_transfer import area, forward_transfer, table
from torchrl_lite.analysis.runs import Run

Points = list[tuple[int, float]]
"""Evaluations of a task: its own frames so far, and its success."""


def run_of(folder: Path, **curves: Points) -> Run:
    """A run directory; all of its tasks are evaluated equally often."""
    folder.mkdir(parents=True)
    (folder / "params.json").write_text(json.dumps({"env": {"tasks": list(curves)}}))
    names = [f"{name}/{task}" for task in curves for name in ("frames", "eval_success")]
    lines = [",".join(["epoch", "total_frames", "time/total_s", *names])]
    for number, points in enumerate(zip(*curves.values(), strict=True)):
        cells = [value for point in points for value in point]
        for frames, measured in ((100 * number - 50, [""] * len(cells)), (100 * number, cells)):
            lines.append(",".join(map(str, [number, frames, 1, *measured])))
    (folder / "log.csv").write_text("\n".join(lines) + "\n")
    return Run(folder)


@pytest.mark.parametrize(
    ("points", "frames", "expected"),
    [
        ([(100, 0.0), (200, 1.0)], 200, 0.25),  # zero, then a triangle
        ([(100, 0.5), (200, 1.0)], 200, (50 + 75) / 200),  # the first success also counts before it
        ([(100, 0.0), (300, 1.0)], 200, (50 * 0.5) / 200),  # cut within a segment
        ([(0, 0.25), (100, 0.75), (200, 0.75)], 200, (50 + 75) / 200),
        ([(0, 0.9), (0, 0.25), (100, 0.75)], 100, 0.5),  # the last one before training counts
        ([(100, 0.5), (200, 0.5), (200, 0.0), (200, 0.1)], 200, 0.5),  # ignores forgetting
        ([(200, 0.5), (200, 0.0), (400, 1.0)], 300, (100 + 25) / 300),  # cut after retraining
    ],
)
def test_an_area_is_the_mean_success_over_the_tasks_own_frames(
    tmp_path: Path, points: Points, frames: int, expected: float
) -> None:
    assert area(run_of(tmp_path / "r", a=points), "a", frames=frames) == pytest.approx(expected)


def constant(success: float) -> Points:
    return [(100, success), (200, success)]


@pytest.mark.parametrize(
    ("transferred", "scratch", "expected"), [(1.0, 0.5, 1.0), (0.75, 0.5, 0.5), (0.0, 0.75, -3.0)]
)
def test_transfer_is_the_share_of_the_possible_gain_in_area(
    tmp_path: Path, transferred: float, scratch: float, expected: float
) -> None:
    runs = [run_of(tmp_path / "1", a=constant(transferred))]
    baseline = [run_of(tmp_path / "2", a=constant(scratch))]
    assert forward_transfer(runs, baseline, "a") == pytest.approx(expected)


def test_only_frames_that_all_runs_have_are_compared(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / "1", a=[(100, 0.5), (200, 0.5), (400, 1.0)])]
    baseline = [run_of(tmp_path / "2", a=constant(0.0))]
    assert forward_transfer(runs, baseline, "a") == pytest.approx(0.5)


def test_transfer_is_undefined_against_a_perfect_baseline(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / "1", a=constant(1.0))]
    assert table({"x": runs}, runs).splitlines()[2] == "| x | a | 1 | 1 | - |"


def test_a_curriculum_that_never_reached_a_task_is_not_a_seed_of_it(tmp_path: Path) -> None:
    waiting: Points = [(0, 0.0), (0, 0.5)]
    runs = [
        run_of(tmp_path / "1", a=constant(0.75), b=waiting, c=waiting),
        run_of(tmp_path / "2", a=constant(0.25), b=constant(0.75), c=waiting),
    ]
    baseline = [run_of(tmp_path / f"of_{task}", **{task: constant(0.5)}) for task in "abc"]
    assert table({"x": runs}, baseline).splitlines()[2:-2] == [
        "| x | a | 2 | 1 | 0.00 |",
        "| x | b | 1 | 1 | 0.50 |",
        "| x | c | 0 | 1 | - |",
    ]
    message = error_of(table, {"x": runs}, [run_of(tmp_path / "3", a=waiting)])
    assert "its runs and the others have no trained task in common" in message


def test_the_starter_prints_the_tasks_that_both_sides_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_of(tmp_path / "curriculum" / "MT2" / "1", a=constant(0.75), b=constant(0.5))
    run_of(tmp_path / "scratch" / "a" / "1", a=constant(0.5))
    run_of(tmp_path / "scratch" / "c" / "1", c=constant(0.0))
    run_of(tmp_path / "other" / "c" / "1", c=constant(0.5))

    def plot(baseline: str) -> int:
        return run_starter("plot", tmp_path / "curriculum", "--baseline", tmp_path / baseline)

    assert plot("scratch") == 0
    *_, row, _, _ = capsys.readouterr().out.splitlines()
    assert row == "| curriculum | a | 1 | 1 | 0.50 |"
    assert plot("other") == 2
    one_line(capsys.readouterr().err, "--baseline: ")
