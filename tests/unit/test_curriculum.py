"""The stages of a curriculum: which tasks they have, and when they end, worked out by hand."""

from typing import Any

import pytest

from torchrl_lite.algo.registry import SECTIONS
from torchrl_lite.collector.episode import EpisodeStats
from torchrl_lite.config import CurriculumConfig, check
from torchrl_lite.env import metaworld
from torchrl_lite.training.curriculum import Check, Stages

# --- the tasks of every stage ---------------------------------------------------------------------

MT10 = list(metaworld.MT10)
EASIEST_FIRST = [
    "reach", "push", "button-press-topdown", "door-open", "drawer-open", "drawer-close",
    "pick-place", "window-open", "window-close", "peg-insert-side",
]  # fmt: skip
PROGRESSIVE = [
    {"reach"},
    {"push", "button-press-topdown"},
    {"door-open", "drawer-open", "drawer-close"},
    {"window-open", "window-close"},
    {"pick-place", "peg-insert-side"},
]
"""The tasks that each stage adds."""


def stages(kind: str, tasks: list[str] = MT10, **fields: Any) -> list[set[str]]:
    """The short names of the tasks in each stage."""
    made = CurriculumConfig(kind=kind, **fields).stages_of(tasks)
    return [{task.removesuffix("-v3") for task in stage} for stage in made]


def test_the_kind_decides_which_tasks_a_stage_has() -> None:
    assert stages("sequential") == [{name} for name in EASIEST_FIRST]
    assert stages("progressive") == [set().union(*PROGRESSIVE[: n + 1]) for n in range(5)]
    assert stages("mixed") == [set(EASIEST_FIRST[:count]) for count in range(3, 11)]
    assert len(stages("mixed", MT10[:3])) == len(stages("mixed", MT10[:1])) == 1


def test_custom_stages_are_taken_as_listed() -> None:
    listed = [["push-v3", "reach-v3"], ["window-open-v3"], ["push-v3"]]
    made = CurriculumConfig(kind="custom", stages=listed).stages_of(MT10)
    assert made == [["reach-v3", "push-v3"], ["window-open-v3"], ["push-v3"]]  # in the set's order


def test_a_level_without_tasks_in_the_set_is_skipped() -> None:
    tasks = ["drawer-close-v3", "window-close-v3", "window-open-v3"]
    both = {"drawer-close", "window-close", "window-open"}
    assert stages("progressive", tasks) == [{"drawer-close"}, both]


def test_difficulty_can_be_overridden() -> None:
    easy = {"peg-insert-side-v3": 0.5}
    assert stages("sequential", difficulty=easy)[0] == {"peg-insert-side"}
    assert stages("progressive", difficulty=easy)[0] == {"peg-insert-side"}
    assert stages("mixed", difficulty=easy)[0] == {"peg-insert-side", *EASIEST_FIRST[:2]}
    assert "pick-place" in stages("progressive", difficulty={"pick-place-v3": 4})[3]


def test_task_names_may_have_a_namespace() -> None:
    """As Gymnasium ids from other packages do."""
    tasks = ["box/Push-v0", "box/Pull-v0"]
    difficulty = dict(zip(tasks, (2, 1), strict=True))
    assert stages("custom", tasks, stages=[tasks]) == [set(tasks)]
    assert stages("sequential", tasks, difficulty=difficulty) == [{tasks[1]}, {tasks[0]}]


@pytest.mark.parametrize(("old_data", "weight"), [("keep", 1.0), ("drop", 0.0), (0.25, 0.25)])
def test_old_data_is_a_keyword_or_a_weight(old_data: Any, weight: float) -> None:
    assert CurriculumConfig(kind="mixed", old_data=old_data).old_weight == weight


# --- the end of a stage ---------------------------------------------------------------------------

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
"""Frames, the success at the check (None: no check is due), and the stage afterwards."""


def make_stages(curriculum: dict[str, Any] | None = THREE, **fields: Any) -> Stages:
    env = {"tasks": TASKS, "num_envs": len(TASKS)}
    section = None if curriculum is None else curriculum | fields
    tree = {"env": env, "train": {"batch_size": len(TASKS)}, "curriculum": section}
    return Stages(check(tree, algo="sac", sections=SECTIONS, source="test"))


def train(stages: Stages, frames: int) -> None:
    stages.submit()
    stages.arrive()
    stages.collected(frames)


def run_check(stages: Stages, success: float) -> Check:
    return stages.check([EpisodeStats(stages.decided_tasks[0], 0.0, 1, success)])


def follow(stages: Stages, epochs: list[Epoch]) -> None:
    """Goes through these epochs, with a check at the end of each where one is due."""
    for frames, success, stage in epochs:
        train(stages, frames)
        assert stages.is_due() == (success is not None), stages.state_dict()
        if success is not None:
            run_check(stages, success)
        assert stages.decided == stage, stages.state_dict()


HISTORIES: dict[str, tuple[dict[str, Any], list[Epoch]]] = {
    "passed at the first check, with exactly min_frames_per_stage": (
        {},
        [(50, UNCHECKED, 0), (50, 0.7, 1)],
    ),
    "just below the threshold": ({}, [(100, 0.699, 0), (30, 0.7, 1)]),
    "checks are spaced by frames, not by epochs": (
        {},
        [(100, 0.0, 0), (20, UNCHECKED, 0), (20, 0.1, 0), (20, UNCHECKED, 0), (10, 0.8, 1)],
    ),
    "without min_frames_per_stage, the first check is after stage_eval_frames": (
        {"min_frames_per_stage": 0},
        [(29, UNCHECKED, 0), (1, 0.7, 1), (30, 0.5, 2)],
    ),
    "the last threshold applies to all later stages": (
        {},
        [(100, 0.7, 1), (100, 0.49, 1), (30, 0.5, 2), (100, 0.49, 2)],
    ),
    "no way back, however low the success": (
        {},
        [(100, 0.7, 1), (100, 0.0, 1), (30, 0.0, 1), (30, 0.5, 2), (100, 0.0, 2), (30, 0.0, 2)],
    ),
    "frames are counted from the start of a stage": (
        {},
        [(190, 1.0, 1), (99, UNCHECKED, 1), (1, 1.0, 2)],
    ),
    "max_frames_per_stage ends a stage without success": (
        {"max_frames_per_stage": 130},
        [(100, 0.0, 0), (29, UNCHECKED, 0), (1, 0.0, 1), (100, 0.0, 1), (30, 0.1, 2)],
    ),
    "max_frames_per_stage adds a check between two others": (
        {"max_frames_per_stage": 110},
        [(100, 0.0, 0), (10, 0.0, 1)],
    ),
    "max_frames_per_stage does not apply to the last stage": (
        {"max_frames_per_stage": 110, "first_stage": 2},
        [(100, 0.0, 2), (10, UNCHECKED, 2), (20, 0.0, 2), (500, 0.0, 2)],
    ),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_stages_follow_their_history_also_when_resumed_after_every_epoch(name: str) -> None:
    """The saved state is all that a resumed run needs."""
    fields, epochs = HISTORIES[name]
    follow(make_stages(**fields), epochs)
    state = make_stages(**fields).state_dict()
    for epoch in epochs:
        resumed = make_stages(**fields)
        resumed.load_state_dict(state)
        follow(resumed, [epoch])
        state = resumed.state_dict()


def test_passing_the_last_stage_completes_the_curriculum_and_ends_the_checks() -> None:
    stages = make_stages()
    follow(stages, [(100, 0.7, 1), (100, 0.5, 2), (100, 0.4, 2)])
    assert not stages.complete
    follow(stages, [(30, 0.5, 2), *10 * [(1000, UNCHECKED, 2)]])
    assert stages.complete


def test_stages_hold_indices_into_the_task_set() -> None:
    stages = make_stages(stages=[["c"], ["c", "a"]])
    assert stages.tasks == (2,)
    follow(stages, [(100, 0.7, 1)])
    assert stages.submit() == (0, 2)
    assert stages.arrive() == []  # no task was dropped


def test_without_a_curriculum_all_tasks_are_trained_and_nothing_is_checked() -> None:
    stages = make_stages(None)
    train(stages, 10**9)
    assert stages.tasks == (0, 1, 2)
    assert stages.decided == 0
    assert not stages.is_due()


@pytest.mark.parametrize(
    ("stage", "frames", "success", "parts"),
    [
        (0, 100, 0.75, ["stage 0 passed", "0.75", "0.70", "over a;", "stage 1 is a, b"]),
        (1, 200, 0.25, ["stage 1 ended by max_frames_per_stage", "0.25", "0.50"]),
        (2, 100, 0.5, ["stage 2 passed", "over a, b, c", "complete"]),
    ],
)
def test_the_end_of_a_stage_is_reported(
    stage: int, frames: int, success: float, parts: list[str]
) -> None:
    stages = make_stages(max_frames_per_stage=200, first_stage=stage)
    train(stages, frames)
    result = run_check(stages, success)
    assert (result.stage, result.success) == (stage, success)
    assert [part for part in parts if part not in str(result.story)] == []


# --- forgetting ----------------------------------------------------------------------------------


def test_forgetting_is_the_best_earlier_success_minus_the_current_one() -> None:
    stages = make_stages()

    def forgetting(**success: float | None) -> dict[str, Any]:
        row = stages.forgotten({f"eval_success/{task}": success.get(task) for task in TASKS})
        return {name.removeprefix("forgetting/"): value for name, value in row.items()}

    assert forgetting(a=0.5, b=0.0) == {}
    assert forgetting(a=0.75, b=0.0) == {"a": -0.25, "b": 0.0}
    assert forgetting(a=0.25, b=1.0) == {"a": 0.5, "b": -1.0}
    assert forgetting(a=0.5, b=1.0) == {"a": 0.25, "b": 0.0}
    assert forgetting(a=0.5, b=1.0, c=0.5) == {"a": 0.25, "b": 0.0}  # c: first measured now
