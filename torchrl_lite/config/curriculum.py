"""The stages of a curriculum: which tasks are trained, in which order."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from torchrl_lite.config.files import nearest
from torchrl_lite.config.section import Count, Natural, Positive, Section, Size, TaskName, Unit

DIFFICULTY: dict[str, float] = {
    "reach-v3": 1.0,
    "push-v3": 2.0,
    "button-press-topdown-v3": 2.0,
    "door-open-v3": 3.0,
    "drawer-open-v3": 3.0,
    "drawer-close-v3": 3.0,
    "window-open-v3": 4.0,
    "window-close-v3": 4.0,
    "pick-place-v3": 4.0,
    "peg-insert-side-v3": 5.0,
}
"""How hard a task is; ``curriculum.difficulty`` overrides it."""

JOINS_LATE: dict[str, float] = {"pick-place-v3": 5.0}
"""Tasks that join a progressive curriculum with a later level than their own: the windows come
before whatever has to be grasped and carried."""

SMALLEST_MIX = 3
"""Tasks in the first stage of a mixed curriculum."""

Stage = Annotated[list[TaskName], Field(min_length=1)]


class CurriculumConfig(Section):
    """Stages of tasks; one is passed when its tasks are solved well enough."""

    kind: Literal["sequential", "progressive", "mixed", "custom"] = Field(
        description="one task after the other; growing by levels of difficulty; the three "
        "easiest, then one more each time; or the stages that are listed"
    )
    stages: Annotated[list[Stage], Field(min_length=1)] | None = Field(
        None, description="tasks of each stage, for kind custom"
    )
    difficulty: dict[TaskName, Positive] = Field(
        {}, description="difficulty of tasks, over or beside the ten of the built-in table"
    )
    first_stage: Natural = Field(
        0, description="the stage to start at, counted from 0; --stage sets it"
    )
    thresholds: Annotated[list[Unit], Field(min_length=1)] = Field(
        [0.7, 0.6, 0.5, 0.4],
        description="mean success that passes each stage; the last one holds for all that follow",
    )
    min_frames_per_stage: Natural = Field(
        200_000, description="frames of its own before a stage can be passed"
    )
    max_frames_per_stage: Count | None = Field(
        None, description="frames after which a stage ends all the same; null: never"
    )
    stage_eval_frames: Count = Field(
        10_000, description="frames between checks, once a stage can be passed"
    )
    stage_eval_episodes: Size = Field(20, description="episodes per task in a check")
    old_data: Literal["keep", "drop"] | Annotated[float, Field(gt=0, le=1)] = Field(
        "keep",
        description="transitions of a task that leaves: kept, dropped, or kept with this weight "
        "against newer ones when the task returns",
    )

    @property
    def old_weight(self) -> float:
        """How likely a transition from before its task left is drawn, against a newer one."""
        if isinstance(self.old_data, str):
            return {"keep": 1.0, "drop": 0.0}[self.old_data]
        return self.old_data

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.kind == "custom") != (self.stages is not None):
            raise ValueError('stages: kind "custom" needs them, and no other kind takes them')
        if self.kind == "custom" and self.difficulty:
            raise ValueError('difficulty: kind "custom" has no use for it')
        for number, stage in enumerate(self.stages or ()):
            for task, times in Counter(stage).items():
                if times > 1:
                    raise ValueError(f"stages: stage {number} names {task!r} twice")
        smallest, largest = self.min_frames_per_stage, self.max_frames_per_stage
        if largest is not None and largest < smallest:
            raise ValueError(
                f"max_frames_per_stage: {largest} is below min_frames_per_stage, {smallest}"
            )
        return self

    def stages_of(self, tasks: Sequence[str]) -> list[list[str]]:
        """The tasks of every stage of this curriculum over a set, each in the set's order.

        Raises:
            ValueError: a name that is not in the set, a task without a difficulty, or a first
                stage that there is not; the message names the key.
        """
        for key, names in (
            ("stages", [task for stage in self.stages or () for task in stage]),
            ("difficulty", list(self.difficulty)),
        ):
            for name in names:
                if name not in tasks:
                    raise ValueError(
                        f"curriculum.{key}: {name!r} is not in env.tasks{nearest(name, tasks)}"
                    )
        stages = self.stages if self.stages is not None else self._made(tasks)
        if self.first_stage >= len(stages):
            raise ValueError(
                f"curriculum.first_stage: {self.first_stage} is not there; the stages are "
                f"0 to {len(stages) - 1}"
            )
        return [[task for task in tasks if task in stage] for stage in stages]

    def _made(self, tasks: Sequence[str]) -> list[list[str]]:
        level = {task: self._difficulty(task) for task in tasks}
        ordered = sorted(tasks, key=level.__getitem__)  # a stable sort: ties in the set's order
        if self.kind == "sequential":
            return [[task] for task in ordered]
        if self.kind == "mixed":
            smallest = min(SMALLEST_MIX, len(tasks))
            return [ordered[:count] for count in range(smallest, len(tasks) + 1)]
        joins = level | {
            task: late
            for task, late in JOINS_LATE.items()
            if task in tasks and task not in self.difficulty
        }
        return [
            [task for task in ordered if joins[task] <= highest]
            for highest in sorted(set(joins.values()))
        ]

    def _difficulty(self, task: str) -> float:
        for table in (self.difficulty, DIFFICULTY):
            if task in table:
                return table[task]
        raise ValueError(
            f"curriculum.difficulty: {task!r} needs one, a number > 0 (the built-in table has "
            "only the tasks of MT10)"
        )
