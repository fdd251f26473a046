"""Validates a plain tree into a `Config`, or raises a one-line error."""

import json
import types
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher, get_close_matches
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import annotated_types as at
from pydantic import Field, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from torchrl_lite.config.config import Config
from torchrl_lite.config.files import (
    merge,
    nest,
    parse_override,
    plain,
    read_tree,
)
from torchrl_lite.config.hints import nearest
from torchrl_lite.config.section import PATTERNS, Section
from torchrl_lite.errors import UserError

Sections = Mapping[str, type[Section]]
"""The model of every algorithm, by section name."""

LARGEST = 10**15
"""No field needs a larger number, and sizes in bytes computed from one would overflow."""
MAX_SHOWN = 200
"""Maximum characters of a wrong value in an error."""


def load(
    source: Path | Mapping[str, Any] | None,
    overrides: Sequence[str] = (),
    *,
    sections: Sections,
    algo: str | None = None,
) -> Config:
    """Load a configuration from a file or a tree, with overrides ``a.b=value``, for ``algo``.

    ``algo`` defaults to the one that ``source`` names, else to the first of ``sections``. Sections
    of other algorithms are checked and dropped.

    Raises:
        UserError: the first error, with what is allowed.
    """
    tree = read_tree(source) if isinstance(source, Path) else dict(source or {})
    parsed = [parse_override(override) for override in overrides]
    for path, value in parsed:
        tree = merge(tree, nest(path, value))
    name = str(source) if isinstance(source, Path) else "configuration"
    chosen = algo or tree.get("algo", next(iter(sections)))
    return check(
        tree,
        algo=chosen,
        sections=sections,
        source=name,
        overridden=[path for path, _ in parsed],
    )


def check(
    tree: dict[str, Any],
    *,
    algo: Any,
    sections: Sections,
    source: str,
    overridden: Sequence[Sequence[str]] = (),
) -> Config:
    """Like `load`, from a tree; ``source`` names it in errors, except those about the fields
    ``overridden`` by ``--set``."""
    try:
        tree = plain(tree)
        _check_sizes(tree, ())
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    except RecursionError:
        raise UserError(f"{source}: nested too deeply") from None
    if not isinstance(algo, str) or algo not in sections:
        hint = nearest(algo, sections) if isinstance(algo, str) else ""
        known = ", ".join(sections)
        raise UserError(f"{source}: algo: {algo!r} is unknown; known are {known}{hint}")
    named = tree.setdefault("algo", algo)
    if named != algo:
        raise UserError(f"{source}: algo: is {named!r}, but this starter trains {algo!r}")
    for other in sections.keys() & tree.keys() - {algo}:
        stub = {"algo": other, "env": {"tasks": ["any"]}, other: tree.pop(other)}
        validate(model(other, sections), stub, source, overridden=overridden)
    return validate(model(algo, sections), tree, source, overridden=overridden)


def _check_sizes(value: Any, path: tuple[str, ...]) -> None:
    if isinstance(value, int | float) and LARGEST < abs(value) < inf:
        raise UserError(f"{'.'.join(path)}: too large; numbers must not exceed {LARGEST:g}")
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_sizes(inner, (*path, key))
    if isinstance(value, list):
        for inner in value:
            _check_sizes(inner, path)


def model(algo: str, sections: Mapping[str, type[Section]]) -> type[Config]:
    """`Config` with the section of one algorithm."""
    section = sections[algo]
    field: Any = (section, Field(default_factory=section))
    return create_model("Config", __base__=Config, **{algo: field})


Model = TypeVar("Model", bound=Section)


def validate(
    kind: type[Model],
    tree: Mapping[str, Any],
    source: str,
    *,
    overridden: Sequence[Sequence[str]] = (),
) -> Model:
    """
    Raises:
        UserError: the first error, with what is allowed; ``source`` names the tree, and ``--set``
            the fields that it ``overridden``.
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        details = error.errors()
        more = len({_keys(kind, d["loc"]) for d in details}) - 1
        rest = f" (and {more} more)" if more else ""
        place = _place(_keys(kind, details[0]["loc"]), source, overridden)
        raise UserError(f"{place}: {_explain(kind, details[0])}{rest}") from None


def _place(keys: Sequence[str], source: str, overridden: Sequence[Sequence[str]]) -> str:
    """Where a wrong field was given; a section may have fields from both places."""
    if any(list(keys[: len(path)]) == list(path) for path in overridden):
        return "--set"
    within = [".".join(path) for path in overridden if list(path[: len(keys)]) == list(keys)]
    return f"{source} with --set {', '.join(within)}" if within else source


def _keys(kind: type[Section], loc: tuple[int | str, ...]) -> tuple[str, ...]:
    """The keys of an error location, without pydantic's names of union members."""
    keys: list[str] = []
    fields: dict[str, FieldInfo] = kind.model_fields
    for part in loc:
        keys.append(str(part))
        section = _section(fields[str(part)].annotation) if str(part) in fields else None
        if section is None:
            break
        fields = section.model_fields
    return tuple(keys)


def _section(annotation: Any) -> type[Section] | None:
    """The model of a field that is a section or null; None for other fields."""
    for part in (annotation, *(get_args(annotation) if _is_union(annotation) else ())):
        if isinstance(part, type) and issubclass(part, Section):
            return part
    return None


def _explain(kind: type[Section], detail: ErrorDetails) -> str:
    keys = _keys(kind, detail["loc"])
    key = ".".join(keys)
    if detail["type"] == "value_error":  # our own checks: they name the key themselves
        message = str(detail["msg"]).removeprefix("Value error, ")
        return f"{key}.{message}" if key else message
    fields: Mapping[str, FieldInfo] = kind.model_fields
    for part in keys[:-1]:
        section = _section(fields[part].annotation)
        assert section is not None, "only sections have keys"
        fields = section.model_fields
    if detail["type"] == "extra_forbidden":
        known = ", ".join(fields)
        return f"{key}: unknown key{_nearest_fields(keys[-1], fields)}; known are {known}"
    info = fields[keys[-1]]
    allowed = describe(info.annotation, info.metadata)
    if detail["type"] == "missing":
        return f"{key}: is missing; it must be {allowed}"
    value = detail["input"]
    shown = json.dumps(value, default=str)
    if len(shown) > MAX_SHOWN:
        shown = f"{shown[:MAX_SHOWN]}..."
    hint = nearest(value, _literals(info.annotation)) if isinstance(value, str) else ""
    return f"{key}: {shown} is not allowed; it must be {allowed}{hint}"


def _nearest_fields(name: str, fields: Mapping[str, FieldInfo]) -> str:
    """The nearest name; if several are equally near, all of them, with what they mean."""

    def nearness(field: str) -> float:
        return SequenceMatcher(None, name, field).ratio()

    close = get_close_matches(name, fields)
    close = [field for field in close if nearness(field) == nearness(close[0])]
    if len(close) < 2:
        return nearest(name, fields)
    return f"; did you mean {' or '.join(f'{f!r} ({fields[f].description})' for f in close)}?"


def _literals(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    return [text for part in get_args(annotation) for text in _literals(part)]


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


_BOUNDS = {at.Ge: ("ge", ">="), at.Gt: ("gt", ">"), at.Le: ("le", "<="), at.Lt: ("lt", "<")}


def describe(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """A field's type in words."""
    if get_origin(annotation) is Annotated:
        annotation, *own = get_args(annotation)
        metadata = [*metadata, *own]
    if _is_union(annotation):
        return " or ".join(describe(part) for part in get_args(annotation))
    if get_origin(annotation) is Literal:
        return " or ".join(json.dumps(value) for value in get_args(annotation))
    constraints = [c for m in metadata for c in (m.metadata if isinstance(m, FieldInfo) else [m])]
    if get_origin(annotation) is list:
        least = sum(c.min_length for c in constraints if isinstance(c, at.MinLen))
        most = [c.max_length for c in constraints if isinstance(c, at.MaxLen)]
        some = f" of {least} to {most[0]}" if most else " that is not empty" if least else ""
        return f"a list{some}, each {describe(get_args(annotation)[0])}"
    if get_origin(annotation) is dict:
        return f"an object, each value {describe(get_args(annotation)[1])}"
    if annotation is type(None):
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "an object"
    patterns = [c.pattern for c in constraints if getattr(c, "pattern", None)]
    if patterns:
        return PATTERNS[patterns[0]]
    names = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}
    bounds = [
        f" {sign} {getattr(constraint, attribute)}"
        for constraint in constraints
        for kind, (attribute, sign) in _BOUNDS.items()
        if isinstance(constraint, kind)
    ]
    return names.get(annotation, "any value") + " and".join(bounds)


def reference(kind: type[Section], prefix: str = "") -> list[tuple[str, str, str, str]]:
    """All fields as (key, type, default, description)."""
    rows: list[tuple[str, str, str, str]] = []
    for name, info in kind.model_fields.items():
        annotation = info.annotation
        section = _section(annotation)
        if section is not None:
            rows += reference(section, f"{prefix}{name}.")
            continue
        default = "required" if info.is_required() else json.dumps(info.get_default())
        text = describe(annotation, info.metadata)
        rows.append((f"{prefix}{name}", text, default, info.description or ""))
    return rows
