"""Configuration of a curriculum: which tasks are trained, in which order."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from torchrl_lite.config.hints import nearest
from torchrl_lite.config.section import (
    MAX_TASKS,
    Count,
    Natural,
    Positive,
    Section,
    Size,
    TaskName,
    Unit,
)

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
"""Built-in difficulty of tasks; ``curriculum.difficulty`` overrides it."""

JOINS_LATE: dict[str, float] = {"pick-place-v3": 5.0}
"""Tasks that join a progressive curriculum later than their difficulty says: the windows come
before tasks with grasping and carrying."""

SMALLEST_MIX = 3
"""Tasks in the first stage of a mixed curriculum."""

Stage = Annotated[list[TaskName], Field(min_length=1, max_length=MAX_TASKS)]


class CurriculumConfig(Section):
    """Stages of tasks; a stage is passed when the mean success on its tasks is high enough."""

    kind: Literal["sequential", "progressive", "mixed", "custom"] = Field(
        description="one task after the other (sequential), adding tasks by difficulty level "
        "(progressive), the three easiest and then one more per stage (mixed), or as listed "
        "(custom)"
    )
    stages: Annotated[list[Stage], Field(min_length=1, max_length=MAX_TASKS)] | None = Field(
        None, description="tasks of each stage; only for kind custom"
    )
    difficulty: dict[TaskName, Positive] = Field(
        {}, description="difficulty of tasks; overrides or extends the built-in table of MT10"
    )
    first_stage: Natural = Field(
        0, description="stage to start at, counted from 0; --stage sets it"
    )
    thresholds: Annotated[list[Unit], Field(min_length=1)] = Field(
        [0.7, 0.6, 0.5, 0.4],
        description="mean success that passes each stage; the last one applies to later stages",
    )
    min_frames_per_stage: Natural = Field(
        200_000, description="minimum frames in a stage before it can be passed"
    )
    max_frames_per_stage: Count | None = Field(
        None, description="frames after which a stage ends in any case; null: no limit"
    )
    stage_eval_frames: Count = Field(
        10_000, description="frames between checks, once a stage can be passed"
    )
    stage_eval_episodes: Size = Field(20, description="episodes per task in a check")
    old_data: Literal["keep", "drop"] | Annotated[float, Field(gt=0, le=1)] = Field(
        "keep",
        description="transitions of a task that leaves: keep them, drop them, or sample them with "
        "this weight relative to newer ones when the task returns",
    )

    @property
    def old_weight(self) -> float:
        """Sampling weight of transitions from before their task left, relative to newer ones."""
        if isinstance(self.old_data, str):
            return {"keep": 1.0, "drop": 0.0}[self.old_data]
        return self.old_data

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.kind == "custom") != (self.stages is not None):
            raise ValueError('stages: required for kind "custom", and not allowed for other kinds')
        if self.kind == "custom" and self.difficulty:
            raise ValueError('difficulty: not used by kind "custom"')
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
        """The tasks of every stage, each in the order of ``tasks``.

        Raises:
            ValueError: a name that is not in ``tasks``, a task without a difficulty, or a
                ``first_stage`` that does not exist; the message names the key.
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
                f"curriculum.first_stage: {self.first_stage} does not exist; the stages are "
                f"0 to {len(stages) - 1}"
            )
        return [[task for task in tasks if task in stage] for stage in stages]

    def _made(self, tasks: Sequence[str]) -> list[list[str]]:
        level = {task: self._difficulty(task) for task in tasks}
        ordered = sorted(tasks, key=level.__getitem__)  # a stable sort keeps the order of ties
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
            f"curriculum.difficulty: {task!r} needs a number > 0 (the built-in table has only the "
            "tasks of MT10)"
        )
