"""What a row of the log says of each task's episodes, and of all of them."""

import pytest

from torchrl_lite.collector.episode import EpisodeStats
from torchrl_lite.training.evaluation import by_task, evaluation_row, training_row

TASKS = ["reach-v3", "push-v3", "pick-place-v3"]
# task, return, length, success; in the order in which workers may bring them
EPISODES = [
    EpisodeStats(2, 7.0, 30, 0.0),
    EpisodeStats(0, 100.0, 10, 1.0),
    EpisodeStats(1, 20.0, 20, 0.0),
    EpisodeStats(2, 5.0, 50, 0.0),
    EpisodeStats(1, 40.0, 20, 1.0),
    EpisodeStats(0, 300.0, 10, 1.0),
]


def test_every_task_is_told_by_itself_and_all_by_their_mean() -> None:
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


def test_a_task_that_tells_nothing_of_success_is_no_failure() -> None:
    silent = [EpisodeStats(2, 7.0, 30, None)]
    row = evaluation_row(by_task([*silent, *EPISODES[1:3]]), TASKS)
    assert row["eval_success/pick-place-v3"] is None
    assert row["eval/success_rate"] == 0.5
    assert evaluation_row(by_task(silent), TASKS)["eval/success_rate"] is None


def test_of_training_the_mean_over_the_episodes_that_ended_is_told() -> None:
    assert training_row(EPISODES[:2]) == {"rollout/ep_rew_mean": 53.5, "rollout/ep_len_mean": 20.0}
    assert training_row([]) == {"rollout/ep_rew_mean": None, "rollout/ep_len_mean": None}
