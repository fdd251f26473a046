"""The configuration of a wrapper around environments."""

from typing import Any

from pydantic import ConfigDict, Field, model_validator

from torchrl_lite.config.section import Name, Section

Argument = bool | int | float | str | list[float] | None


class WrapperConfig(Section):
    """A wrapper by its name; all other fields are its arguments."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Argument]
    name: Name = Field(description="a shipped wrapper, or one that env.imports registers")

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        tree = {"name": value} if isinstance(value, str) else value
        if isinstance(tree, dict) and "name" not in tree:
            raise ValueError('name: is missing; a wrapper is a name, or {"name": ..., arguments}')
        return tree

    @property
    def arguments(self) -> dict[str, Argument]:
        return dict(self.__pydantic_extra__ or {})
