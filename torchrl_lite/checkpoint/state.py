"""A checkpoint's state, checked by models before anything uses it: a checksum says that a file is
what was written, not that a run wrote it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from torchrl_lite.config.reading import why_invalid
from torchrl_lite.errors import CheckpointError

Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
_Part = TypeVar("_Part", bound="Part")


class Part(BaseModel):
    """Strict types; other keys are ignored."""

    model_config = ConfigDict(strict=True, arbitrary_types_allowed=True)


class Chunk(NamedTuple):
    """A ``.rows`` file: raw float32; for each task in turn, ``counts`` transitions from ``starts``
    on."""

    file: str
    starts: list[Count]
    counts: list[Count]


class StoredRows(Part):
    """Which transitions a checkpoint consists of."""

    chunks: list[Chunk]
    written: list[Count]

    @model_validator(mode="after")
    def _check(self) -> Self:
        ends = [0] * len(self.written)
        for chunk in self.chunks:
            if not len(chunk.starts) == len(chunk.counts) == len(self.written):
                raise ValueError(f"{chunk.file}: not one start and count for each task")
            ends = [sum(pair) for pair in zip(chunk.starts, chunk.counts, strict=True)]
        if ends != self.written:
            raise ValueError(f"its transitions end at {ends}, not at {self.written}")
        return self


class Stored(Part):
    """The part of a state that the store needs."""

    buffer: StoredRows


def check_state(kind: type[_Part], state: Mapping[str, Any], path: Path) -> _Part:
    """``state``, read from ``path``, as such a part.

    Raises:
        CheckpointError: no run writes such a state.
    """
    try:
        return kind.model_validate(dict(state))
    except ValidationError as error:
        why = why_invalid(error)
    except RecursionError:
        why = "nested too deeply"
    raise CheckpointError(f"{path}: not written by a run ({why})")
