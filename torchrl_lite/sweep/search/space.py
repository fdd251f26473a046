"""What a search varies: fields of the configuration, with values or a range for each."""

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Protocol, Self

from pydantic import model_validator

from torchrl_lite.algo.registry import SECTIONS
from torchrl_lite.config import (
    Config,
    Section,
    check,
    merge,
    model,
    nest,
    read_tree,
    reference,
    validate,
)
from torchrl_lite.errors import UserError
from torchrl_lite.sweep.plan import Setting

FORM = 'a list of values, or a range {"low": 1e-4, "high": 1e-2, "log": true}'


class Range(Section):
    """Numbers from ``low`` to ``high``; with ``log``, each order of magnitude equally often."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low: {self.low:g} must be below high, which is {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low: {self.low:g} must be above 0 for a logarithmic range")
        return self


Values = Sequence[Any]
Space = Mapping[str, Range | Values]
"""Values of any kind, or a range of numbers, by a field's full name, such as ``sac.qlr``."""


def read_space(path: Path) -> Space:
    """
    Raises:
        UserError: the file is not a space; whether its fields exist is checked by `check_space`.
    """
    tree = read_tree(path)
    if not tree:
        raise UserError(f'{path}: names no field; e.g. {{"sac.qlr": [1e-4, 3e-4]}}')
    return {key: _field(f"{path}: {key}", value) for key, value in tree.items()}


def _field(place: str, value: Any) -> Range | Values:
    if isinstance(value, dict):
        return validate(Range, value, place)
    if not isinstance(value, list) or not value:
        raise UserError(f"{place}: {json.dumps(value)} is not allowed; it must be {FORM}")
    if len(set(map(json.dumps, value))) < len(value):
        raise UserError(f"{place}: a value occurs twice")
    return value


def check_space(space: Space, config: Config, path: Path) -> None:
    """Tries every value, and both ends of every range, in a configuration.

    Raises:
        UserError: the first that the field does not take, or an unknown field.
    """
    for key, field in space.items():
        for value in (field.low, field.high) if isinstance(field, Range) else field:
            tree = merge(config.model_dump(), nest(key.split("."), value))
            check(tree, algo=config.algo, sections=SECTIONS, source=str(path))


class Suggests(Protocol):
    """Of ``optuna.Trial``: a value for a field, the same one when asked again."""

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str: ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool) -> int: ...

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float: ...


def suggest(space: Space, trial: Suggests, algo: str) -> Setting:
    """The setting of a trial."""
    kinds = {key: kind for key, kind, *_ in reference(model(algo, SECTIONS))}
    setting: dict[str, Any] = {}
    for key, field in space.items():
        if not isinstance(field, Range):
            chosen = trial.suggest_categorical(key, [json.dumps(value) for value in field])
            setting[key] = json.loads(chosen)
        elif "an integer" in kinds.get(key, ""):
            low, high = int(field.low), int(field.high)
            setting[key] = trial.suggest_int(key, low, high, log=field.log)
        else:
            setting[key] = trial.suggest_float(key, field.low, field.high, log=field.log)
    return setting


def combinations(space: Space, path: Path) -> list[dict[str, str]]:
    """All settings of a space of lists, each value as JSON, which is how Optuna knows it.

    Raises:
        UserError: a field has a range.
    """
    lists = []
    for key, field in space.items():
        if isinstance(field, Range):
            raise UserError(f"{path}: {key}: --sampler grid needs a list of values, not a range")
        lists.append([json.dumps(value) for value in field])
    return [dict(zip(space, values, strict=True)) for values in product(*lists)]
