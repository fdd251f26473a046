"""The score of a search trial, checked by hand."""

import shutil
from pathlib import Path

import pytest
from test_plot import Write, write

from torchrl_lite.sweep.search.objective import STEPS, Objective, Score
from torchrl_lite.sweep.trial import Trial

__all__ = ["write"]  # a fixture
FRAMES, MINUTES = Objective("mean"), Objective("mean", core_minutes=270.0)
"""The logs have 1000 frames and 45 core minutes per epoch, and evaluate every second epoch."""


def trial(folder: Path, total_frames: int = 6000) -> Trial:
    return Trial("st_sac", (), folder, total_frames, False)


def test_success_decides_and_return_breaks_ties() -> None:
    ordered = [
        Score(0.0, -1e9),
        Score(0.0, -1000.0),
        Score(0.0, 4000.0),
        Score(0.0, 4000.1),
        Score(0.0001, -1e15),
        Score(0.98, 1e15),
        Score(1.0, -3.0),
        Score(1.0, 1e6),
        Score(1.0, 1e6 + 1),
    ]
    values = [score.value for score in ordered]
    assert values == sorted(set(values))
    assert Score(None, -321.5).value == -321.5


def test_tasks_are_averaged_before_seeds(write: Write) -> None:
    """Seeds 0 to 3 have the means 0.6, 0.1, 0.2 and 0.9; their interquartile mean is 0.4."""
    runs = [
        trial(write({task: [0.0, 0.0, success]}, env=task, seed=seed))
        for task, successes in (("a", (1.0, 0.2, 0.0, 0.9)), ("b", (0.2, 0.0, 0.4, 0.9)))
        for seed, success in enumerate(successes)
    ]
    assert FRAMES.final(runs) == pytest.approx((0.45, 45.0))
    assert Objective("iqm").final(runs) == pytest.approx((0.4, 40.0))


def test_trials_are_compared_at_frames_all_their_runs_reached(write: Write) -> None:
    ahead = trial(write({"a": [0.8, 0.2, 0.9]}, seed=1))
    behind = trial(write({"a": [0.4, 0.6]}, seed=2, finished=False))
    started = trial(behind.folder.with_name("3"))
    assert FRAMES.reached([ahead, behind]) == 2 * STEPS // 3
    assert FRAMES.reached([ahead, behind, started]) == 0
    assert FRAMES.reached([trial(behind.folder, 6500)]) == 16  # rounded down from 16.6
    third = STEPS // 3
    assert FRAMES.at([ahead, behind], third - 1) is None  # before the first evaluation
    assert FRAMES.at([ahead, behind], third) == pytest.approx((0.6, 60.0))
    assert FRAMES.at([ahead, behind], 2 * third - 1) == pytest.approx((0.6, 60.0))
    assert FRAMES.at([ahead, behind], 2 * third) == pytest.approx((0.4, 40.0))  # the second
    assert [FRAMES.is_over(run) for run in (ahead, behind, started)] == [True, False, False]


def test_a_log_is_reread_when_it_grows_and_kept_once(write: Write) -> None:
    objective = Objective("mean")
    run = trial(write({"a": [0.5]}, seed=1, finished=False))
    longer = trial(write({"a": [0.5, 0.5]}, seed=2, finished=False))
    assert objective.reached([run]) == STEPS // 3
    shutil.copy(longer.folder / "log.csv", run.folder)
    assert objective.reached([run]) == 2 * STEPS // 3
    assert len(objective._known) == 1


def test_core_minutes_end_a_run_and_later_evaluations_do_not_count(write: Write) -> None:
    """270 core minutes are six epochs; the fourth evaluation comes after eight."""
    slow = trial(write({"a": [0.1, 0.2, 0.3, 0.9]}, seed=1, finished=False), 10**6)
    quick = trial(write({"a": [0.5, 0.7]}, seed=2), 10**6)
    early = trial(write({"a": [0.5]}, seed=3, finished=False), 10**6)
    assert [MINUTES.is_over(run) for run in (slow, quick, early)] == [True, True, False]
    assert MINUTES.final([slow, quick]) == pytest.approx((0.5, 50.0))
    assert MINUTES.at([slow], STEPS) == pytest.approx((0.3, 30.0))
    assert MINUTES.reached([early]) == STEPS // 3
    assert Objective("mean", core_minutes=89.0).final([slow]) is None  # before any evaluation
    over = trial(write({"a": [0.5, 0.6, 0.7, 0.8]}, seed=4), 10**6)
    assert MINUTES.final([over]) == pytest.approx((0.7, 70.0))  # not its final evaluation


def test_tasks_without_success_are_scored_by_return(write: Write) -> None:
    folder = write({"a": [0.2, 0.5]})
    for name in ("log.csv", "result.json"):
        path = folder / name
        path.write_text(path.read_text().replace("eval_success", "other"))
    assert FRAMES.final([trial(folder, 4000)]) == (None, 50.0)
