"""The configuration of a wrapper around environments."""

import json
from collections.abc import Callable
from typing import Any, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from torchrl_lite.config.section import Name, Section

Argument = bool | int | float | str | list[int] | list[float] | None


class WrapperConfig(Section):
    """A wrapper by its name; all other fields are its arguments."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Argument]
    name: Name = Field(description="a shipped wrapper, or one that env.imports registers")

    @model_validator(mode="wrap")
    @classmethod
    def _named(cls, value: Any, validated: Callable[[Any], Self]) -> Self:
        tree = {"name": value} if isinstance(value, str) else value
        if isinstance(tree, dict) and "name" not in tree:
            raise ValueError('name: is missing; a wrapper is a name, or {"name": ..., arguments}')
        try:
            return validated(tree)
        except ValidationError as error:
            where = error.errors()[0]["loc"]
            if not where or where[0] == "name":
                raise
            shown = json.dumps(tree[where[0]], default=str)
            raise ValueError(
                f"{where[0]}: {shown} is not allowed; an argument must be true, false, null, a "
                "number, a string or a list of numbers"
            ) from None

    @property
    def arguments(self) -> dict[str, Argument]:
        return dict(self.__pydantic_extra__ or {})
