"""Curves and tables show what is in the run directories."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from tiny_runs import one_line, run_starter

from torchrl_lite.analysis import figures, results
from torchrl_lite.analysis.axes import Axis
from torchrl_lite.analysis.figures import aggregate, learning_curves
from torchrl_lite.analysis.heat_map import cells, heat_map
from torchrl_lite.analysis.runs import Run, by_experiment, find_runs
from torchrl_lite.errors import UserError

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a run directory with these successes, evaluated every second epoch."""

    def make(
        curves: dict[str, list[float]],
        *,
        experiment: str = "exp",
        env: str | None = None,
        seed: int = 1,
        finished: bool = True,
        root: str = "log",
    ) -> Path:
        env = env or (f"MT{len(curves)}" if len(curves) > 1 else next(iter(curves)))
        folder = tmp_path / root / experiment / env / str(seed)
        folder.mkdir(parents=True)
        (folder / "params.json").write_text(json.dumps({"env": {"tasks": list(curves)}}))
        names = [f"eval_{metric}/{task}" for task in curves for metric in ("success", "return")]
        columns = ["epoch", "total_frames", "updates", "time/total_s", "time/cpu_s", *names]
        lines, last = [",".join(columns)], []
        for epoch, successes in enumerate(zip(*curves.values(), strict=True), start=1):
            last = [value for success in successes for value in (success, 100 * success)]
            for number, values in ((2 * epoch - 1, [""] * len(names)), (2 * epoch, last)):
                row = [number, 1000 * number, 50 * number, 1800, 2700, *values]
                lines.append(",".join(map(str, row)))
        (folder / "log.csv").write_text("\n".join(lines) + "\n")
        if finished:
            result = {"frames": 1000 * len(lines), **dict(zip(names, last, strict=False))}
            (folder / "result.json").write_text(json.dumps(result))
        return folder

    return make


def test_a_curve_shows_the_logged_evaluations(write: Write) -> None:
    """Updates are read as logged; times are summed over all epochs, evaluated or not."""
    run = Run(write({"a": [0.1, 0.5, 0.7], "b": [0.0, 0.2, 0.9]}))
    frames, success = run.curve("b", metric="success", axis="frames")
    assert frames.tolist() == [2000, 4000, 6000]
    assert success.tolist() == [0.0, 0.2, 0.9]
    hours, returns = run.curve("a", metric="return", axis="hours")
    assert hours == pytest.approx([1, 2, 3])
    assert returns == pytest.approx([10, 50, 70])
    assert run.curve("a", metric="success", axis="updates")[0].tolist() == [100, 200, 300]
    core_hours, _ = run.curve("a", metric="success", axis="core_hours")
    assert core_hours == pytest.approx([1.5, 3, 4.5])


def test_a_log_without_the_column_of_an_axis_has_no_curve(write: Write) -> None:
    """As in runs of earlier versions, whose evaluations would all be at 0."""
    run = Run(write({"a": [0.1, 0.5]}))
    log = run.path / "log.csv"
    log.write_text(log.read_text().replace("updates", "x").replace("time/cpu_s", "y"))
    axes: tuple[Axis, ...] = ("updates", "core_hours", "frames")
    assert [len(run.curve("a", metric="success", axis=axis)[0]) for axis in axes] == [0, 0, 2]


def test_seeds_are_aggregated_where_all_were_evaluated(write: Write) -> None:
    """A run without evaluations does not hide others."""
    curves = [[0.0, 0.2, 1.0], [0.4, 0.6], [0.8, 1.0, 0.9], [0.4, 0.6, 0.7], []]
    folders = [write({"a": curve}, seed=seed) for seed, curve in enumerate(curves)]
    runs = find_runs([folders[0].parents[1]])
    assert [run.seed for run in runs] == ["0", "1", "2", "3", "4"]
    curve = aggregate(runs, ["a"], metric="success", axis="frames")
    assert curve.x.tolist() == [2000, 4000]
    assert [estimate.value for estimate in curve.estimates] == pytest.approx([0.4, 0.6])
    nothing = aggregate(runs[4:], ["a"], metric="success", axis="frames")
    assert len(nothing.x) == len(nothing.estimates) == 0


def test_a_seed_is_interpolated_between_its_evaluations(write: Write) -> None:
    """Rather than dropped: both are evaluated at 4000 frames, but not at every point."""
    runs = [Run(write({"a": [0.0, 1.0, 1.0, 0.0]}, seed=seed)) for seed in (1, 2)]
    log = runs[1].path / "log.csv"
    log.write_text(log.read_text().replace(",6000,", ",6500,").replace(",2000,", ",2500,"))
    curve = aggregate(runs, ["a"], metric="success", axis="frames")
    assert curve.x.tolist() == [2500, 4000, 6000, 6500, 8000]
    assert curve.seeds[0] == pytest.approx([0.25, 1.0, 1.0, 0.75, 0.0])
    assert curve.seeds[1] == pytest.approx([0.0, 1.0, 1.0, 1.0, 0.0])


def test_a_run_that_truncates_the_curves_is_named(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [Run(write({"a": [0.5] * 9}, seed=seed)) for seed in (1, 2)]
    (axes,) = learning_curves({"exp": [*runs, Run(write({"a": [0.1]}, seed=3))]}).axes
    assert axes.get_lines()[0].get_xdata().tolist() == [2000]
    cut = str(runs[0].path.with_name("3"))
    one_line(capsys.readouterr().err, "exp: drawn up to 2,000 of 18,000 frames", cut)
    learning_curves({"exp": [*runs, Run(write({"a": []}, seed=4))]})
    one_line(capsys.readouterr().err, "exp: without seed 4, which has no success")


def test_time_curves_are_interpolated_up_to_the_shortest_run(write: Write) -> None:
    runs = [Run(write({"a": [0.0, 1.0]}, seed=1)), Run(write({"a": [0.0, 1.0, 1.0]}, seed=2))]
    curve = aggregate(runs, ["a"], metric="success", axis="hours")
    assert (curve.x[0], curve.x[-1]) == pytest.approx((1.0, 2.0))
    assert [estimate.value for estimate in curve.estimates] == pytest.approx(list(curve.x - 1))
    one = aggregate([Run(write({"b": [0.5]}))], ["b"], metric="success", axis="hours")
    assert (one.x.tolist(), one.estimates[0].value) == ([1.0], 0.5)


def test_markers_are_at_evaluations_unless_seeds_share_none(write: Write) -> None:
    runs = [Run(write({"a": [0.0, 1.0, 0.5]}, seed=seed)) for seed in (1, 2)]
    log = runs[1].path / "log.csv"
    log.write_text(log.read_text().replace("2700", "3600"))
    for shown, points, marker in ((runs[:1], 3, "o"), (runs, 4, "None")):
        (axes,) = learning_curves({"one": shown}, axis="core_hours").axes
        line = axes.get_lines()[0]
        assert (len(line.get_xdata()), line.get_marker()) == (points, marker)


def test_a_truncated_last_line_is_ignored(write: Write) -> None:
    folder = write({"a": [0.25, 0.75]})
    log = folder / "log.csv"
    for missing in (1, 4, 10, 16):
        log.write_text(log.read_text()[:-missing])
        assert Run(folder).curve("a", metric="success", axis="frames")[1].tolist() == [0.25]


def lines_of(figure: Figure) -> dict[str, list[str]]:
    return {
        axes.get_title(): [str(line.get_label()) for line in axes.get_lines()]
        for axes in figure.axes
        if axes.get_title()
    }


def test_there_is_a_panel_per_task_and_one_for_the_mean(write: Write) -> None:
    """An experiment appears only in the panels of its own tasks."""
    write({"a": [0.1, 0.2], "b": [0.3, 0.4]}, experiment="new")
    write({"a": [0.1, 0.2]}, experiment="old")
    runs = find_runs([write({"b": [0.1, 0.2]}, experiment="old").parents[2]])
    both = {name: ["new", "old"] for name in ("a", "b", "mean of 2 tasks")}
    assert lines_of(learning_curves(by_experiment(runs))) == both
    shown = lines_of(learning_curves({"one": runs[:1], "other": runs[1:2]}, metric="return"))
    assert shown["b"] == shown["mean of 2 tasks"] == ["one"]


def test_axes_are_labelled_and_twelve_lines_are_distinguishable(write: Write) -> None:
    for name in "abcdefghijkl":
        folder = write({"task": [0.1, 0.5]}, experiment=name)
    (axes,) = learning_curves(by_experiment(find_runs([folder.parents[2]]))).axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("environment frames", "success rate")
    lines = axes.get_lines()
    styles = [(line.get_linestyle(), line.get_marker()) for line in lines]
    assert len(set(styles[:4])) == 4
    colors = [line.get_color() for line in lines]
    assert len(set(colors)) >= 8 and len(set(zip(styles, colors, strict=True))) == 12


def test_experiments_with_the_same_name_are_distinguished(write: Write) -> None:
    folders = [write({"a": [0.1]}, root=root) for root in ("here", "there")]
    assert list(by_experiment(find_runs(folders))) == ["here/exp", "there/exp"]


def test_symlinked_runs_are_found_once(write: Write, tmp_path: Path) -> None:
    run = write({"a": [0.1]}, root="scratch")
    log = tmp_path / "log"
    log.mkdir()
    for name in ("exp", "again"):
        (log / name).symlink_to(run.parents[1])
    (run / "up").symlink_to(log)
    assert [found.path for found in find_runs([log])] == [run]


@pytest.mark.parametrize(("folder", "versions"), [("runs/reach", '{"seed": 1}'), ("mine/1", None)])
def test_a_run_outside_an_experiment_is_its_own_experiment(
    write: Write, folder: str, versions: str | None
) -> None:
    """Like runs of the library, in folders of any name; two seeds are one experiment."""
    seeds = [write({"a": [0.1]}, seed=seed) for seed in (1, 2)]
    (seeds[1] / "versions.json").write_text('{"seed": 2}')
    own, other = (seeds[0].parents[2] / name for name in (folder, f"{folder}_other"))
    for place in (own, other):
        shutil.copytree(seeds[0], place)
        if versions:
            (place / "versions.json").write_text(versions)
    found = by_experiment(find_runs([*seeds, own, other]))
    assert {name: len(runs) for name, runs in found.items()} == {
        "exp": 2, own.name: 1, other.name: 1
    }  # fmt: skip
    assert found[own.name][0].seed == "1"


def test_the_starter_writes_plots_and_tables_and_reports_unfinished_runs(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, text = tmp_path / "c.svg", tmp_path / "t.md"
    runs = write({"a": [0.1, 0.9]}), write({"a": [0.1]}, seed=2, finished=False)
    assert run_starter("plot", *runs, "--out", out, "--table", text, "--x", "hours") == 0
    assert out.stat().st_size > 1000
    assert "| exp | a | 1 |" in text.read_text()
    error = capsys.readouterr().err
    assert str(runs[1]) in error and "unfinished" in error


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], ["run directory"]),
        (["no-such-place"], ["no-such-place", "does not exist"]),
        (["{empty}"], ["no run"]),
        (["{run}", "--out", "c.gif"], ["--out", ".png"]),
        (["{unevaluated}", "--out", "c.png"], ["--metric", "success", "--metric return"]),
        (["{run}", "--metric", "eval_retrun"], ["--metric", "did you mean 'eval_return'?"]),
    ],
)
def test_invalid_arguments_exit_with_code_2(
    write: Write,
    argv: list[str],
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"run": write({"a": [0.1]}), "empty": tmp_path / "empty",
              "unevaluated": write({"a": []}, seed=2)}  # fmt: skip
    assert run_starter("plot", *(part.format(**places) for part in argv)) == 2
    one_line(capsys.readouterr().err, *words)


@pytest.mark.parametrize("name", ["params.json", "result.json", "log.csv"])
@pytest.mark.parametrize("content", ["[]", '{"lr": 1, "env": {}}', "step,a\n1,x\n"])
def test_a_damaged_or_foreign_file_is_named(write: Write, name: str, content: str) -> None:
    path = write({"a": [0.1]}) / name
    path.write_text(content)
    try:
        experiments = by_experiment(find_runs([path.parent]))
        learning_curves(experiments)
        list(results.rows(experiments))
    except UserError as error:
        assert str(path) in str(error)
    else:
        assert name == "log.csv"  # without a complete line, so no evaluation
        assert content[-1] != "\n"


def test_any_column_can_be_plotted(write: Write) -> None:
    """A per-task column in a panel per task, a shared column in a single panel."""
    run = Run(write({"a": [0.1, 0.5], "b": [0.3, 0.4]}))
    experiments = {"exp": [run]}
    assert list(lines_of(learning_curves(experiments, metric="eval_return"))) == [
        "a", "b", "mean of 2 tasks"
    ]  # fmt: skip
    (axes,) = learning_curves(experiments, metric="updates").axes
    assert (axes.get_title(), axes.get_ylabel()) == ("all 2 tasks", "updates")
    (line,) = axes.get_lines()
    assert np.transpose(line.get_data()).tolist() == [
        [1000, 50], [2000, 100], [3000, 150], [4000, 200]
    ]  # fmt: skip
    assert line.get_marker() == "None"
    own, known = (learning_curves(experiments, metric=name) for name in ("eval_return", "return"))
    for one, other in zip(own.axes, known.axes, strict=True):
        assert np.array_equal(one.get_lines()[0].get_xydata(), other.get_lines()[0].get_xydata())


def test_smoothing_averages_the_latest_points(write: Write) -> None:
    runs = [Run(write({"a": [0.0, 0.3, 0.6, 0.0]}))]
    (axes,) = learning_curves({"exp": runs}, smooth=3, markers=False).axes
    (line,) = axes.get_lines()
    assert line.get_xdata().tolist() == [2000, 4000, 6000, 8000]
    assert line.get_ydata() == pytest.approx([0.0, 0.15, 0.3, 0.3])
    assert line.get_marker() == "None"


def test_points_are_smoothed_before_seeds_are_interpolated(write: Write) -> None:
    """Over the latest two of each seed's own evaluations, which are an hour apart."""
    runs = [Run(write({"a": [0.0, 0.4, 0.8, 0.8]}, seed=seed)) for seed in (1, 2)]
    log = runs[1].path / "log.csv"
    log.write_text(log.read_text().replace("1800", "2000"))
    curve = aggregate(runs, ["a"], metric="success", axis="hours", smooth=2)
    assert np.interp([2, 3, 4], curve.x, curve.seeds[0]) == pytest.approx([0.2, 0.6, 0.8])


def test_an_experiment_is_plotted_or_reported_as_missing(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = {"many": [Run(write({"a": [0.1], "b": [0.2]}))]}
    runs["few"] = [Run(write({"a": [0.1], "c": [0.1]}, experiment="few"))]
    shown = lines_of(learning_curves(runs, metric="updates"))
    assert shown == {"all tasks of each": ["many", "few"]}
    assert capsys.readouterr().err == ""
    assert lines_of(learning_curves(runs))["b"] == ["many"]
    few, many = capsys.readouterr().err.splitlines()
    assert (
        few == "few: not in the panels b, mean of 3 tasks: it lacks these tasks, or their success"
    )
    assert many.startswith("many: not in the panels c, mean of 3 tasks")


def test_the_heat_map_has_a_row_for_each_task(write: Write) -> None:
    runs = [
        Run(write({"a": [0.1, 0.5, 0.9], "b": [0.0, 0.2, 0.4]}, seed=1)),
        Run(write({"a": [0.3, 0.5, 0.9], "b": [0.2, 0.4, 0.4]}, seed=2)),
    ]
    x, rows, notes = cells(runs, metric="success", axis="frames")
    assert notes == []
    assert x.tolist() == [2000, 4000, 6000]
    assert rows == pytest.approx(np.array([[0.2, 0.5, 0.9], [0.1, 0.3, 0.4]]))
    panel, colorbar = heat_map({"exp": runs}).axes
    assert [text.get_text() for text in panel.get_yticklabels()] == ["a", "b"]
    (mesh,) = panel.collections
    assert np.array_equal(np.asarray(mesh.get_array()), rows)
    assert mesh.get_clim() == (0, 1)
    assert panel.yaxis_inverted()
    assert colorbar.get_ylabel() == "success rate"


def test_the_heat_map_refuses_a_value_that_tasks_share(write: Write) -> None:
    runs = [Run(write({"a": [0.1], "b": [0.0]}))]
    with pytest.raises(UserError, match="--heat_map: updates is one value for all tasks"):
        heat_map({"exp": runs}, metric="updates")


@pytest.mark.parametrize("draw", [learning_curves, heat_map])
def test_seeds_without_a_common_place_are_an_error_that_says_so(
    write: Write, draw: Callable[..., Figure]
) -> None:
    runs = [Run(write({"a": [0.1, 0.2, 0.3]}, seed=seed)) for seed in (1, 2)]
    early, late = (run.path / "log.csv" for run in runs)
    header, *lines = early.read_text().splitlines(keepends=True)
    early.write_text(header + "".join(lines[:2]))
    late.write_text(header + "".join(lines[2:]))
    with pytest.raises(UserError, match=r"^exp: .*1 ends at 2,000, another one begins at 4,000$"):
        draw({"exp": runs})
    other = Run(write({"a": [0.1, 0.2]}, experiment="other"))
    assert draw({"exp": runs, "other": [other]}).axes, "the others are drawn"


def test_a_long_curve_is_thinned_to_its_end(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "MOST_POINTS", 3)
    run = Run(write({"a": [0.1, 0.2, 0.3, 0.4, 0.5]}))
    curve = aggregate([run], ["a"], metric="success", axis="frames")
    assert curve.x.tolist() == [2000, 6000, 10_000]
