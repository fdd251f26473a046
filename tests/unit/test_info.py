"""What environments report in ``info``: from a step to the log, without affecting training."""

from pathlib import Path
from typing import Any

import numpy as np
from helpers import make_spec, random_block, through_a_file
from tiny_runs import TASK, assert_same_bits, results, rows_of, state_of, train

from torchrl_lite.collector.collected import Collected
from torchrl_lite.collector.episode import EpisodeStats
from torchrl_lite.collector.info import InfoRecorder, Reported
from torchrl_lite.collector.protocol import Cost
from torchrl_lite.config.log import METAWORLD_INFO
from torchrl_lite.training.evaluation import by_task, training_row

OWN = ("wall_time", "config")
"""Parts of a checkpoint that differ between two such runs."""


def recorded(names: list[str], steps: list[dict[str, Any]]) -> dict[str, Reported]:
    recorder = InfoRecorder(names)
    recorder.add(dict.fromkeys(names, 100.0))  # from the episode before
    recorder.begin()
    for info in steps:
        recorder.add(info)
    return recorder.summary()


def test_a_summary_has_the_mean_over_reporting_steps_and_the_last_value() -> None:
    steps = [{"a": 1, "b": True}, {"a": np.float32(2.0)}, {"a": 6.0, "b": np.False_, "c": 9}]
    assert recorded(["a", "b"], steps) == {"a": Reported(3.0, 6.0), "b": Reported(0.5, 0.0)}
    no_numbers: list[object] = [None, "1.0", np.zeros(2), [1.0]]
    assert recorded(["a", "b"], [{"a": value} for value in no_numbers]) == {}


def test_a_collected_epoch_keeps_its_info_in_a_checkpoint() -> None:
    block = random_block(make_spec(1), 2)
    stats = EpisodeStats(0, 1.0, 5, None, info={"a": Reported(1.0, 2.0)})
    state = through_a_file(Collected(block, [stats], Cost(1.0, 2.0)).state_dict())
    assert Collected.of(state, block).episodes == [stats]


def test_a_row_averages_over_the_episodes_that_report() -> None:
    one = EpisodeStats(0, 1.0, 5, None, info={"a": Reported(1.0, 2.0)})
    two = EpisodeStats(0, 1.0, 5, None, info={"a": Reported(3.0, 8.0), "b": Reported(7.0, 7.0)})
    other = EpisodeStats(1, 1.0, 5, None)
    row = training_row(by_task([one, two, other]), ["t", "u"])
    assert {name: value for name, value in row.items() if name.startswith("info")} == {
        "info_mean/a/t": 2.0,
        "info_last/a/t": 5.0,
        "info_mean/b/t": 7.0,
        "info_last/b/t": 7.0,
    }


def test_meta_worlds_info_is_logged_and_does_not_change_training(tmp_path: Path) -> None:
    with_them, without = (
        train(tmp_path / name, "--task", TASK, **changes)
        for name, changes in (("a", {}), ("b", {"log__info": []}))
    )
    row = rows_of(with_them)[1]  # the first epoch is shorter than an episode
    for name in METAWORLD_INFO:
        assert row[f"info_mean/{name}/reach-v3"] != ""
    # In this task, both are distances of the hand, and there is nothing to grasp.
    assert row["info_last/near_object/reach-v3"] == row["info_last/obj_to_target/reach-v3"]
    assert float(row["info_mean/grasp_success/reach-v3"]) == 1.0
    names = rows_of(without)[1].keys()
    assert not [name for name in names if name.startswith("info_")]
    shared = [{k: v for k, v in row.items() if k in names} for row in results(with_them)]
    assert shared == results(without)
    ours, theirs = state_of(with_them), state_of(without)
    assert_same_bits(ours | dict.fromkeys(OWN), theirs | dict.fromkeys(OWN))
