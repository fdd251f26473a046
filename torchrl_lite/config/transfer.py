"""Starting from another run."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from torchrl_lite.config.section import Natural, Positive, Section, TaskName

Part = Literal["actor", "critic", "alpha", "buffer"]
"""Transferable parts: networks with their targets, temperatures, transitions."""


class TransferConfig(Section):
    """Starting from the weights or transitions of another run."""

    init_from: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="run, checkpoint or file to start from; --init_from sets it"
    )
    load: Literal["auto"] | Annotated[list[Part], Field(min_length=1)] = Field(
        "auto", description="parts to load; auto: actor, critic and alpha, if present"
    )
    lr_multiplier: Positive = Field(
        0.3, description="multiplier of all learning rates if weights were loaded"
    )
    freeze_updates: Natural = Field(
        0, description="first updates that train only the critics, not actor and temperatures"
    )
    task_map: dict[TaskName, TaskName] = Field(
        {},
        description="source task of each task in this run; by default, equal names or two single "
        "tasks are paired",
    )
    optional: bool = Field(False, description="if no weights fit, only warn and train from scratch")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.freeze_updates and self.load != "auto" and "actor" not in self.load:
            raise ValueError('freeze_updates: freezes a loaded actor, but load has no "actor"')
        return self
