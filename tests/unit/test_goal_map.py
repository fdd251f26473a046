"""Where goals fail, from handwritten results; the map and the video of a run's goals."""

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from helpers import choose_renderer
from stock import SEED, stock_env
from tiny_runs import run_starter, train

from torchrl_lite.analysis.goal_map import GoalResults, goal_map, places, where
from torchrl_lite.command.goals import worst_goals


def results(successes: list[bool], **axes: list[float]) -> GoalResults:
    count = len(successes)
    columns = [axes.get(name, [0.5] * count) for name in "xyz"]
    return GoalResults("a-v3", np.array(columns).T, np.array(successes), np.arange(count)[::-1])


LINE = [number / 10 for number in range(12)]


def test_failures_on_one_side_are_located() -> None:
    left = where(results([False] * 4 + [True] * 8, x=LINE))
    assert left == (
        "a-v3: 4 of 12 goals fail, mostly to the robot's left (x up to 0.37 m): "
        "success is 0.00 there and 1.00 elsewhere."
    )
    far = where(results([True] * 11 + [False] * 7, y=[number / 10 for number in range(18)]))
    assert "mostly far from it (y from 1.13 m): success is 0.00 there and 0.92 else" in far
    assert "mostly high (z from" in where(results([True] * 8 + [False] * 4, z=LINE))


def test_failures_without_a_pattern_are_all_over_the_table() -> None:
    spread = results([True, True, False] * 4, x=LINE, y=LINE[::-1])
    assert where(spread) == "a-v3: 4 of 12 goals fail, all over the table."
    assert where(results([False] * 12)) == "a-v3: 12 of 12 goals fail, all over the table."
    assert where(results([True] * 12, x=LINE)) == "a-v3: none of 12 goals fails."


def test_the_video_has_the_worst_goals_of_every_task() -> None:
    one, other = results([False] * 12), results([True] * 10 + [False] * 2)
    assert one.failed[:2] == [11, 10]  # their return is the lowest
    worst = [(0, 11), (1, 11), (0, 10), (1, 10), *((0, goal) for goal in (9, 8, 7, 6, 5))]
    assert worst_goals([one, other]) == worst


def test_the_map_marks_every_goal() -> None:
    (axes,) = goal_map([results([False] * 4 + [True] * 8, x=LINE)]).axes
    success, failure = axes.collections
    assert success.get_offsets()[:, 0].tolist() == LINE[4:]
    assert failure.get_offsets()[:, 0].tolist() == LINE[:4]
    assert axes.get_title() == "a-v3: 0.67"
    assert axes.get_aspect() == 1  # a metre is as long along y as along x


@pytest.mark.parametrize("task", ["push-v3", "door-open-v3"])
def test_goals_are_where_metaworld_puts_them(task: str) -> None:
    for goal in (0, 25):
        env, place = stock_env(task, goal), places(task, SEED, 50)[goal]
        env.reset()
        assert env._last_rand_vec[-3:] == pytest.approx(place)
        if task == "push-v3":
            assert env._target_pos[:2] == pytest.approx(place[:2])


def test_diagnose_goals_writes_a_map_and_a_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    choose_renderer(monkeypatch)
    run = train(tmp_path, "--task", "push-v3", env__num_goals=3)
    capsys.readouterr()
    assert run_starter("diagnose", run, "--goals") in (0, 1)
    out = capsys.readouterr().out
    assert "3 of 3 goals fail, all over the table." in out
    assert imageio.imread(run / "goals.png").std() > 10
    film = imageio.imread(run / "worst_goals.mp4", index=None)
    assert film.shape[1:] == (240, 3 * 240, 3)
