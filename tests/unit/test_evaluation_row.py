"""A log row's statistics of episodes, per task and overall."""

import pytest

from torchrl_lite.collector.episode import EpisodeStats
from torchrl_lite.policies.file import TaskEvaluation
from torchrl_lite.training.evaluation import by_task, evaluation_row, training_row

TASKS = ["reach-v3", "push-v3", "pick-place-v3"]
# task, return, length, success; in any order, as from workers
EPISODES = [
    EpisodeStats(2, 7.0, 30, 0.0),
    EpisodeStats(0, 100.0, 10, 1.0),
    EpisodeStats(1, 20.0, 20, 0.0),
    EpisodeStats(2, 5.0, 50, 0.0),
    EpisodeStats(1, 40.0, 20, 1.0),
    EpisodeStats(0, 300.0, 10, 1.0),
]


def test_a_row_has_every_task_and_their_mean() -> None:
    assert evaluation_row(by_task(EPISODES), TASKS) == {
        "eval/success_rate": 0.5,
        "eval/return": pytest.approx(472 / 6),
        "eval/ep_len_mean": pytest.approx(140 / 6),
        "eval_success/reach-v3": 1.0,
        "eval_success/push-v3": 0.5,
        "eval_success/pick-place-v3": 0.0,
        "eval_return/reach-v3": 200.0,
        "eval_return/push-v3": 30.0,
        "eval_return/pick-place-v3": 6.0,
        "eval_length/reach-v3": 10.0,
        "eval_length/push-v3": 20.0,
        "eval_length/pick-place-v3": 40.0,
    }


def test_a_task_that_reports_no_success_does_not_count_as_failed() -> None:
    silent = [EpisodeStats(2, 7.0, 30, None)]
    row = evaluation_row(by_task([*silent, *EPISODES[1:3]]), TASKS)
    assert row["eval_success/pick-place-v3"] is None
    assert row["eval/success_rate"] == 0.5
    assert evaluation_row(by_task(silent), TASKS)["eval/success_rate"] is None


def test_a_missing_success_is_a_failure_if_another_episode_of_the_task_has_one() -> None:
    """Some environments report it only when solved, or only in a terminal state."""
    mixed = [EpisodeStats(0, 1.0, 10, 1.0), *(EpisodeStats(0, 1.0, 10, None) for _ in range(3))]
    row = evaluation_row(by_task([*mixed, EpisodeStats(1, 1.0, 10, None)]), TASKS)
    assert row["eval/success_rate"] == row["eval_success/reach-v3"] == 0.25
    assert TaskEvaluation.of("reach-v3", mixed).successes == [True, False, False, False]


def test_training_episodes_have_success_and_return_per_task() -> None:
    row = training_row(by_task(EPISODES[1:3]), TASKS)
    assert row == {
        "rollout/success_rate": 0.5,
        "rollout/ep_rew_mean": 60.0,
        "rollout/ep_len_mean": 15.0,
        "rollout_success/reach-v3": 1.0,
        "rollout_success/push-v3": 0.0,
        "rollout_return/reach-v3": 100.0,
        "rollout_return/push-v3": 20.0,
    }


def test_an_epoch_without_finished_episodes_has_empty_cells() -> None:
    empty = ["rollout/success_rate", "rollout/ep_rew_mean", "rollout/ep_len_mean"]
    assert training_row({}, TASKS) == dict.fromkeys(empty)
