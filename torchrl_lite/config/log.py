"""What a run shows and logs."""

from collections import Counter
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from torchrl_lite.config.section import Count, InfoName, Section

METAWORLD_INFO = (
    "near_object",
    "grasp_success",
    "grasp_reward",
    "in_place_reward",
    "obj_to_target",
)
"""Numbers that every Meta-World task reports in ``info``."""


class LogConfig(Section):
    """Console, films, tracking, and what environments report."""

    console: Literal["auto", "live", "plain"] = Field(
        "auto", description="auto: a live view on a terminal, else one line per epoch"
    )
    video: bool | Count = Field(
        False,
        description="film one episode per task at every evaluation (true) or every n-th, and at "
        "the end",
    )
    wandb_project: Annotated[str, Field(min_length=1)] = Field(
        "torchrl_lite", description="project on Weights & Biases, used with --track"
    )
    info: Literal["auto"] | list[InfoName] = Field(
        "auto",
        description="numbers in an environment's info to log; auto: on Meta-World "
        f"{', '.join(METAWORLD_INFO)}, else none",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, times in Counter(self.info if self.info != "auto" else ()).items():
            if times > 1:
                raise ValueError(f"info: {name!r} is named twice")
        return self
