"""The results table: means over tasks, interquartile means over five or more seeds."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import bootstrap, trim_mean
from test_plot import Write, write
from tiny_runs import ROOT, run_starter, train

from torchrl_lite.analysis.figures import aggregate, learning_curves
from torchrl_lite.analysis.results import AVERAGES, markdown, rows, scores, write_csv
from torchrl_lite.analysis.runs import Run, by_experiment, find_runs
from torchrl_lite.analysis.statistics import (
    AT_ONCE,
    Estimate,
    centres,
    over_seeds,
    over_seeds_each,
)
from torchrl_lite.collector.collector import Collector

__all__ = ["write"]  # a fixture


def cells(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]


def test_four_of_five_tasks_solved_is_0_80(write: Write) -> None:
    """An interquartile mean over tasks would give 1.00."""
    solved = {task: [1.0] for task in "abcd"} | {"e": [0.0]}
    text = markdown(list(rows({"exp": [Run(write(solved))]})))
    assert cells(text)[-1] == ["exp", "mean of 5 tasks", "1", "3,000", "0.80", "80.0"]
    assert text.splitlines()[-1] == AVERAGES


def test_console_result_and_table_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of four episodes per task, four, two and one succeed: 7/12."""
    evaluate = Collector.evaluate

    def scripted(*args: Any, **kwargs: Any) -> Any:
        seen = [0, 0, 0]
        for stats in evaluate(*args, **kwargs):
            successes = (4, 2, 1)[stats.task]
            yield replace(stats, success=float(seen[stats.task] < successes), ret=100.0 * successes)
            seen[stats.task] += 1

    monkeypatch.setattr(Collector, "evaluate", lambda *a, **k: list(scripted(*a, **k)))
    config = str(ROOT / "config" / "mt3.json")
    changes = {"env__num_envs": 3, "train__batch_size": 24, "train__final_eval_episodes": 4}
    folder = train(tmp_path, "--config", config, many=True, **changes)
    done = "success 0.58, return 233.3 over 4 episodes per task"
    assert done in capsys.readouterr().out
    result = json.loads((folder / "result.json").read_text())
    assert (result["eval/success_rate"], result["eval/return"]) == pytest.approx((7 / 12, 700 / 3))
    assert run_starter("plot", folder) == 0
    table = cells(capsys.readouterr().out.partition("\n\n")[0])
    assert [row[4:] for row in table] == [
        ["1.00", "400.0"], ["0.50", "200.0"], ["0.25", "100.0"], ["0.58", "233.3"]
    ]  # fmt: skip
    *_, mean = rows({"x": [Run(folder)]})
    assert mean.success == Estimate(pytest.approx(result["eval/success_rate"], abs=1e-15))


def test_single_task_runs_are_averaged_per_seed(write: Write) -> None:
    for seed, values in {1: (1.0, 0.5), 2: (0.0, 0.2)}.items():
        for task, value in zip("ab", values, strict=True):
            folder = write({task: [value]}, seed=seed)
    write({"a": [0.9]}, seed=3)  # b has no seed 3
    runs = find_runs([folder.parents[1]])
    table = cells(markdown(list(rows(by_experiment(runs)))))
    assert [row[1:3] for row in table] == [["a", "3"], ["b", "2"], ["mean of 2 tasks", "2"]]
    assert table[2][4] == f"{np.mean([0.75, 0.1]):.2f}"
    curve = aggregate(runs, ["a", "b"], metric="success", axis="frames")
    assert curve.seeds[:, 0] == pytest.approx([0.75, 0.1])
    assert curve.estimates == [Estimate(pytest.approx(np.mean([0.75, 0.1])))]


def test_five_or_more_seeds_give_the_interquartile_mean() -> None:
    assert over_seeds(np.array([0.0, 0.2, 0.4, 1.0])) == Estimate(pytest.approx(0.4))
    scores = np.array([0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0])
    value, low, high = over_seeds(scores)
    assert value == pytest.approx((0.6 + 0.7 + 0.8 + 0.9) / 4)
    rng = np.random.default_rng(1)
    resampled = trim_mean(rng.choice(scores, (20_000, len(scores))), 0.25, axis=1)
    assert (low, high) == pytest.approx(tuple(np.percentile(resampled, [2.5, 97.5])), abs=0.04)


def test_columns_bootstrapped_together_have_the_same_intervals_as_alone() -> None:
    scores = np.random.default_rng(0).random((7, AT_ONCE + 3))
    scores[:, 5] = 7379.3  # all equal; interpolated percentiles of it are rounded
    found = over_seeds_each(scores)
    assert [one.value for one in found] == centres(scores).tolist()
    assert found[5] == Estimate(*[found[5].value] * 3)
    for index in (0, AT_ONCE - 1, AT_ONCE, AT_ONCE + 2):
        alone = bootstrap(
            (scores[:, index],),
            lambda x, axis: trim_mean(x, 0.25, axis=axis),
            n_resamples=2000,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        assert found[index][1:] == (alone.low, alone.high)


def test_the_table_and_the_csv_have_the_same_numbers(write: Write, tmp_path: Path) -> None:
    for seed, value in enumerate([0.0, 0.5, 0.5, 0.6, 1.0]):
        write({"a": [value]}, seed=seed)
    write({"a": [1.0]}, seed=7, finished=False)
    folder = write({"b": [0.25]}, experiment="other")
    found = list(rows(by_experiment(find_runs([folder.parents[2]]))))
    write_csv(tmp_path / "out.csv", found)
    with (tmp_path / "out.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    many, one = cells(markdown(found))
    assert many[:3] == ["exp", "a", "5"]
    assert many[4].startswith(f"{float(first['success']):.2f} [{float(first['success_low']):.2f}, ")
    assert one == ["other", "b", "1", "3,000", "0.25", "25.0"]
    assert (second["success"], second["success_low"]) == ("0.25", "")


@pytest.mark.parametrize(("seeds", "dots", "bands"), [(1, 0, 0), (3, 3, 0), (5, 0, 1)])
def test_few_seeds_are_dots_and_many_have_a_band(
    write: Write, seeds: int, dots: int, bands: int
) -> None:
    runs = [Run(write({"a": [0.1 * seed, 0.2 * seed]}, seed=seed)) for seed in range(seeds)]
    (axes,) = learning_curves({"exp": runs}).axes
    kinds = [type(one).__name__ for one in axes.collections]
    assert kinds == ["PathCollection"] * dots + ["FillBetweenPolyCollection"] * bands
    (axes,) = learning_curves({"exp": runs}, metric="updates").axes  # logged at every epoch
    assert len(axes.collections) == dots + bands
    (axes,) = learning_curves({"exp": runs}, markers=False).axes
    assert len(axes.collections) == bands


def test_a_task_with_two_runs_of_a_seed_counts_once(write: Write) -> None:
    folder = write({"a": [1.0], "b": [0.0]}).parents[1]
    write({"a": [0.5]})
    assert scores(find_runs([folder]), ["a", "b"], "success").tolist() == [0.375]


def test_the_frames_of_a_task_are_those_of_its_own_runs(write: Write) -> None:
    runs = [Run(write({"a": [0.5]})), Run(write({"b": [0.5, 0.5]}))]
    assert [row.frames for row in rows({"x": runs})][:2] == [[3000], [5000]]
