"""The stage machine against histories that were worked out by hand."""

from typing import Any

import pytest

from torchrl_lite.config import CurriculumConfig
from torchrl_lite.training.curriculum import Curriculum, Forgetting, Progress

TASKS = ["a", "b", "c"]
THREE: dict[str, Any] = {
    "kind": "custom",
    "stages": [["a"], ["a", "b"], ["a", "b", "c"]],
    "thresholds": [0.7, 0.5],
    "min_frames_per_stage": 100,
    "stage_eval_frames": 30,
}
UNCHECKED = None
Epoch = tuple[int, float | None, int]
"""Frames, the success that a check would find (None: none is expected), and the stage after it."""


def machine(**fields: Any) -> Curriculum:
    return Curriculum(CurriculumConfig(**(THREE | fields)), TASKS)


def after(curriculum: Curriculum, progress: Progress, epoch: Epoch) -> Progress:
    """One epoch, with the check at its end where one is expected."""
    frames, success, _ = epoch
    progress = curriculum.collected(progress, frames)
    assert curriculum.is_due(progress) == (success is not None), progress
    return progress if success is None else curriculum.checked(progress, success)


def follow(
    curriculum: Curriculum, epochs: list[Epoch], progress: Progress | None = None
) -> Progress:
    progress = progress or curriculum.start
    for epoch in epochs:
        progress = after(curriculum, progress, epoch)
        assert progress.stage == epoch[2], progress
    return progress


HISTORIES: dict[str, tuple[dict[str, Any], list[Epoch]]] = {
    "passed at the first check, with exactly the smallest number of frames": (
        {},
        [(50, UNCHECKED, 0), (50, 0.7, 1)],
    ),
    "just below the threshold": ({}, [(100, 0.699, 0), (30, 0.7, 1)]),
    "checks follow each other by frames, not by epochs": (
        {},
        [(100, 0.0, 0), (20, UNCHECKED, 0), (20, 0.1, 0), (20, UNCHECKED, 0), (10, 0.8, 1)],
    ),
    "no smallest number: the first check is still after stage_eval_frames": (
        {"min_frames_per_stage": 0},
        [(29, UNCHECKED, 0), (1, 0.7, 1), (30, 0.5, 2)],
    ),
    "the second threshold holds for the second stage and all after it": (
        {},
        [(100, 0.7, 1), (100, 0.49, 1), (30, 0.5, 2), (100, 0.49, 2)],
    ),
    "no way back, whatever happens to success": (
        {},
        [(100, 0.7, 1), (100, 0.0, 1), (30, 0.0, 1), (30, 0.5, 2), (100, 0.0, 2), (30, 0.0, 2)],
    ),
    "frames are counted anew in each stage": (
        {},
        [(190, 1.0, 1), (99, UNCHECKED, 1), (1, 1.0, 2)],
    ),
    "the largest number of frames ends a stage without success": (
        {"max_frames_per_stage": 130},
        [(100, 0.0, 0), (29, UNCHECKED, 0), (1, 0.0, 1), (100, 0.0, 1), (30, 0.1, 2)],
    ),
    "the largest number brings a check between two": (
        {"max_frames_per_stage": 110},
        [(100, 0.0, 0), (10, 0.0, 1)],
    ),
    "the last stage has no largest number": (
        {"max_frames_per_stage": 110, "first_stage": 2},
        [(100, 0.0, 2), (10, UNCHECKED, 2), (20, 0.0, 2), (500, 0.0, 2)],
    ),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_a_history_gives_these_stages_also_to_a_run_that_goes_on(name: str) -> None:
    """What a checkpoint keeps is all that there is to know."""
    fields, epochs = HISTORIES[name]
    follow(machine(**fields), epochs)
    progress = machine(**fields).start
    for epoch in epochs:
        kept = list(progress)
        progress = after(machine(**fields), Progress(*kept), epoch)
        assert progress.stage == epoch[2]


def test_passing_the_last_stage_completes_the_curriculum_and_ends_the_checks() -> None:
    curriculum = machine()
    progress = follow(curriculum, [(100, 0.7, 1), (100, 0.5, 2), (100, 0.4, 2)])
    assert not progress.complete
    progress = follow(curriculum, [(30, 0.5, 2), *10 * [(1000, UNCHECKED, 2)]], progress)
    assert progress.complete


def test_without_a_curriculum_all_tasks_are_trained_and_nothing_is_checked() -> None:
    curriculum = Curriculum(None, TASKS)
    progress = curriculum.collected(curriculum.start, 10**9)
    assert curriculum.stages == [(0, 1, 2)]
    assert progress.stage == 0
    assert not curriculum.is_due(progress)


@pytest.mark.parametrize(
    ("before", "success", "parts"),
    [
        (Progress(0, 100), 0.75, ["stage 0 passed", "0.75", "0.70", "over a;", "stage 1 is a, b"]),
        (Progress(1, 200), 0.25, ["stage 1 ended by max_frames_per_stage", "0.25", "0.50"]),
        (Progress(2, 100), 0.5, ["stage 2 passed", "over a, b, c", "complete"]),
    ],
)
def test_the_end_of_a_stage_is_told(before: Progress, success: float, parts: list[str]) -> None:
    curriculum = machine(max_frames_per_stage=200)
    text = curriculum.story(before, curriculum.checked(before, success), success)
    assert [part for part in parts if part not in text] == []


# --- forgetting ----------------------------------------------------------------------------------


def test_forgetting_is_the_best_success_before_minus_the_success_now() -> None:
    forgetting = Forgetting()
    assert forgetting.update({"a": 0.5, "b": 0.0}) == {}
    assert forgetting.update({"a": 0.75, "b": 0.0}) == {"a": -0.25, "b": 0.0}
    assert forgetting.update({"a": 0.25, "b": 1.0}) == {"a": 0.5, "b": -1.0}
    assert forgetting.update({"a": 0.5, "b": 1.0}) == {"a": 0.25, "b": 0.0}
    assert "c" not in forgetting.update({"a": 0.5, "b": 1.0, "c": 0.5})  # never measured before
