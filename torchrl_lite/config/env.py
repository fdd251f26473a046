"""The tasks and their environments."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from torchrl_lite.config.section import MAX_TASKS, Few, Horizon, Name, Section, Size, TaskName
from torchrl_lite.config.wrapper import WrapperConfig


def set_name(tasks: Sequence[str], name: str | None) -> str:
    """The name of a set of tasks; a run directory is in a folder of this name."""
    return tasks[0].replace("/", "_") if len(tasks) == 1 else name or f"MT{len(tasks)}"


class EnvConfig(Section):
    """The tasks and their environments."""

    suite: Literal["metaworld", "gymnasium"] = Field("metaworld", description="source of the tasks")
    imports: list[Name] = Field(
        [],
        description="modules whose import registers Gymnasium ids or wrappers, also in the current "
        "directory; importing runs their code",
    )
    wrappers: list[WrapperConfig] = Field(
        [],
        max_length=16,
        description="wrappers of every environment, the first one innermost: a name, or an object "
        "of name and arguments",
    )
    name: Name | None = Field(
        None, description="name of a set of several tasks; null: MT10 for ten tasks"
    )
    tasks: Annotated[list[TaskName], Field(min_length=1, max_length=MAX_TASKS)] = Field(
        description="names of the tasks"
    )
    num_envs: Size = Field(1, description="environments over all tasks")
    group_size: Size = Field(1, description="environments per inference batch")
    max_episode_frames: Horizon | None = Field(
        None, description="time limit of an episode; null: each task's own (Meta-World: 500)"
    )
    num_goals: Annotated[int, Field(ge=1, le=50)] = Field(
        50, description="Meta-World goals per task; 1: a single fixed goal, as in garage"
    )
    hide_goal: bool = Field(
        False, description="set the goal in Meta-World's observations to zero, as in ML1"
    )
    reward: Literal["dense", "sparse"] = Field(
        "dense",
        description="Meta-World's reward, or 1 for a step that succeeds and else 0 (sparse)",
    )
    reward_version: Literal["v1", "v2"] = Field(
        "v2", description="Meta-World's dense reward functions"
    )
    fast: bool = Field(
        True, description="use the fast Meta-World, bit-identical to stock; false: stock"
    )
    reward_normalization: Literal["auto", "ema", "return"] | None = Field(
        "auto",
        description="running scale of each task's rewards, by their standard deviation (ema) or so "
        "that the largest discounted return becomes net.critic.bound (return); null: none; auto: "
        "return with categorical critics, else ema with v1 rewards, else null",
    )
    noise_repeat: Few = Field(
        1,
        description="maximum consecutive steps with the same exploration noise; it is held for n "
        "steps with probability ~ 1/n^2",
    )
    noise_spread: Annotated[float, Field(ge=1, le=100)] = Field(
        1.0,
        description="multiplies the exploration noise of a task's environments: by 1 in the first, "
        "by this in the last, log-spaced in between",
    )

    @property
    def set_name(self) -> str:
        return set_name(self.tasks, self.name)

    def noise_scale(self, copy: int) -> float:
        """What multiplies exploration noise in a task's n-th environment, counted from 0."""
        return self.noise_spread ** (copy / (self.copies - 1)) if self.noise_spread > 1 else 1.0

    @property
    def copies(self) -> int:
        """Environments per task."""
        return self.num_envs // len(self.tasks)

    @property
    def num_groups(self) -> int:
        """Inference batches of a step, each of which one process collects."""
        return -(-self.num_envs // self.group_size)

    @property
    def has_goals(self) -> bool:
        """Whether episodes differ by goals, of which some are never trained on."""
        return self.suite == "metaworld"

    @model_validator(mode="before")
    @classmethod
    def _check_modules(cls, tree: Any) -> Any:
        tasks = tree.get("tasks") if isinstance(tree, dict) else None
        for task in tasks if isinstance(tasks, list) else ():
            if isinstance(task, str) and ":" in task:
                raise ValueError(
                    f"tasks: {task!r}: a module before a colon is not imported; name it in "
                    "env.imports"
                )
        return tree

    @model_validator(mode="after")
    def _check(self) -> Self:
        for task, times in Counter(self.tasks).items():
            if times > 1:
                raise ValueError(f"tasks: {task!r} is named twice")
        if self.imports and self.suite != "gymnasium" and not self.wrappers:
            raise ValueError('imports: only for suite "gymnasium" or with wrappers')
        self._check_suite()
        if self.num_envs % len(self.tasks):
            raise ValueError(
                f"num_envs: {self.num_envs} is not a multiple of the {len(self.tasks)} tasks"
            )
        if self.noise_spread > 1 and self.copies == 1:
            raise ValueError("noise_spread: needs several environments of each task (num_envs)")
        return self

    def _check_suite(self) -> None:
        """What needs Meta-World's goals, rewards or success."""
        if self.reward == "sparse" and self.reward_version == "v1":
            raise ValueError('reward_version: "v1" is of the dense reward, but reward is "sparse"')
        if self.suite == "metaworld":
            return
        for name in ("num_goals", "reward_version", "reward", "hide_goal", "fast"):
            value = getattr(self, name)
            if value != type(self).model_fields[name].default:
                raise ValueError(f'{name}: {json.dumps(value)} is only for suite "metaworld"')
