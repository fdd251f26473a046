"""The small JSON files of a run directory, each validated by a model."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from torchrl_lite.config import Section, Seed, parse_json
from torchrl_lite.config.reading import read_bytes, reason, why_invalid
from torchrl_lite.errors import UserError

MAX_BYTES = 2**24
"""Maximum size of such a file; a run on 50 tasks writes about ten thousand bytes."""
_Count = Annotated[int, Field(ge=0, le=10**15)]
_Record = TypeVar("_Record", bound="Record")


class Record(Section):
    """A file may have further fields, all of one type."""

    model_config = ConfigDict(extra="allow")

    @property
    def others(self) -> dict[str, Any]:
        return dict(self.__pydantic_extra__ or {})


class Versions(Record):
    """``versions.json``; the other fields are the versions of packages."""

    __pydantic_extra__: dict[str, str]
    seed: Seed
    platform: str = ""
    device: str = ""
    cpu: str = ""
    has_checkpoint: bool = True
    """Whether a complete checkpoint was ever written. Without any checkpoint, ``--resume`` starts
    at frame 0 only if this is explicitly ``false``."""


class Result(Record):
    """``result.json``; the other fields are the metrics of the final evaluation."""

    __pydantic_extra__: dict[str, float | bool | None]
    frames: _Count
    epochs: _Count | None = None
    origin: list[dict[str, Any]] = Field(default_factory=list)


def read_versions(folder: Path) -> Versions | None:
    """None if the file does not exist.

    Raises:
        UserError: the file is damaged.
    """
    return _read(folder / "versions.json", Versions)


def read_result(folder: Path) -> Result | None:
    """None if the run has not finished.

    Raises:
        UserError: the file is damaged.
    """
    return _read(folder / "result.json", Result)


def _read(path: Path, kind: type[_Record]) -> _Record | None:
    try:
        return kind.model_validate(parse_json(read_bytes(path, most=MAX_BYTES).decode()))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        why = why_invalid(error)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({reason(error)})") from None
    except (ValueError, RecursionError) as error:
        why = str(error)
    raise UserError(f"{path}: is damaged, or not written by a run ({why})")
