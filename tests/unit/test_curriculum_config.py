"""The curriculum section: the stages for a kind and a task set, and what is rejected."""

from typing import Any

import pytest

from torchrl_lite.algo.registry import SECTIONS
from torchrl_lite.config import Config, CurriculumConfig, check
from torchrl_lite.env import metaworld
from torchrl_lite.errors import UserError

MT10 = list(metaworld.MT10)
EASIEST_FIRST = [
    "reach", "push", "button-press-topdown", "door-open", "drawer-open", "drawer-close",
    "pick-place", "window-open", "window-close", "peg-insert-side",
]  # fmt: skip


def stages(kind: str, tasks: list[str] = MT10, **fields: Any) -> list[set[str]]:
    """The short names of the tasks in each stage."""
    made = CurriculumConfig(kind=kind, **fields).stages_of(tasks)
    return [{task.removesuffix("-v3") for task in stage} for stage in made]


def config_with(curriculum: dict[str, Any] | None, tasks: list[str] = MT10) -> Config:
    env = {"tasks": tasks, "num_envs": len(tasks)}
    tree = {"env": env, "train": {"batch_size": len(tasks)}, "curriculum": curriculum}
    return check(tree, algo="sac", sections=SECTIONS, source="test")


# --- stages --------------------------------------------------------------------------------------


def test_sequential_takes_one_task_at_a_time_easiest_first() -> None:
    assert stages("sequential") == [{name} for name in EASIEST_FIRST]


def test_progressive_grows_level_by_level() -> None:
    reach = {"reach"}
    three = reach | {"push", "button-press-topdown"}
    six = three | {"door-open", "drawer-open", "drawer-close"}
    eight = six | {"window-open", "window-close"}
    ten = eight | {"pick-place", "peg-insert-side"}
    assert stages("progressive") == [reach, three, six, eight, ten]


def test_mixed_starts_with_three_tasks_and_adds_one_per_stage() -> None:
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
    pair = ["assembly-v3", "reach-v3"]
    assert stages("sequential", pair, difficulty={"assembly-v3": 9}) == [{"reach"}, {"assembly"}]


# --- the section ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("old_data", "weight"), [("keep", 1.0), ("drop", 0.0), (0.25, 0.25)])
def test_old_data_is_a_keyword_or_a_weight(old_data: Any, weight: float) -> None:
    config = config_with({"kind": "mixed", "old_data": old_data}).curriculum
    assert config is not None
    assert config.old_weight == weight


ERRORS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["curriculum.kind: is missing", '"sequential" or "progressive"']),
    ({"kind": "custom"}, ["curriculum.stages: ", 'required for kind "custom"']),
    ({"kind": "mixed", "stages": [["reach-v3"]]}, ["curriculum.stages: "]),
    (
        {"kind": "custom", "stages": [["reach-v3"], ["pusch-v3"]]},
        ["curriculum.stages: 'pusch-v3'", "did you mean 'push-v3'"],
    ),
    (
        {"kind": "custom", "stages": [["reach-v3", "reach-v3"]]},
        ["curriculum.stages: stage 0 names 'reach-v3' twice"],
    ),
    (
        {"kind": "custom", "stages": [["reach-v3"]], "difficulty": {"reach-v3": 1}},
        ["curriculum.difficulty: "],
    ),
    (
        {"kind": "mixed", "difficulty": {"reach-v2": 1}},
        ["curriculum.difficulty: 'reach-v2'", "did you mean 'reach-v3'"],
    ),
    (
        {"kind": "mixed", "max_frames_per_stage": 199_999},
        ["curriculum.max_frames_per_stage: 199999", "min_frames_per_stage"],
    ),
    ({"kind": "mixed", "old_data": "dorp"}, ["curriculum.old_data", "did you mean 'drop'"]),
    ({"kind": "mixed", "first_stage": 8}, ["curriculum.first_stage: 8", "0 to 7"]),
]


@pytest.mark.parametrize(("section", "parts"), ERRORS, ids=lambda value: str(value)[:60])
def test_an_error_is_one_line_that_names_the_key(section: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(UserError) as error:
        config_with(section)
    assert "\n" not in str(error.value)
    assert [part for part in parts if part not in str(error.value)] == []


def test_a_task_without_a_difficulty_is_named() -> None:
    with pytest.raises(UserError, match=r"curriculum\.difficulty: 'assembly-v3' needs a number"):
        config_with({"kind": "sequential"}, ["reach-v3", "assembly-v3"])


def test_task_names_may_have_a_namespace() -> None:
    """As Gymnasium ids from other packages do."""
    tasks = ["box/Push-v0", "box/Pull-v0"]
    config_with({"kind": "custom", "stages": [tasks[:1], tasks]}, tasks)
    config_with({"kind": "sequential", "difficulty": dict(zip(tasks, (2, 1), strict=True))}, tasks)
