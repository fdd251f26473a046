"""Reads, extends and merges configuration files and overrides as plain trees."""

import json
import re
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

import yaml

from torchrl_lite.config.hints import nearest
from torchrl_lite.config.reading import read_bytes, reason
from torchrl_lite.config.shipped import shipped_config
from torchrl_lite.errors import UserError, in_one_line

MAX_BYTES = 2**22
"""Maximum size of a file, which may be untrusted; a configuration has a few thousand bytes."""


MAX_VALUES = 100_000
"""Maximum in a YAML file, where aliases multiply values; a configuration has about a hundred."""


class _YamlLoader(yaml.SafeLoader):
    """YAML restricted to JSON values: no dates or octal numbers."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        pairs = [(self.construct_object(key, deep=True), key) for key, _ in node.value]
        for name, key in pairs:
            if not isinstance(name, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {name!r} is not a string", key.start_mark
                )
        _unique_keys([(name, None) for name, _ in pairs])
        return super().construct_mapping(node, deep)


_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_YamlLoader.yaml_implicit_resolvers = {}
for _tag, _pattern in (
    ("bool", re.compile(r"^(true|false)$")),
    ("null", re.compile(r"^(null|~|)$")),
    ("float", re.compile(f"^{_NUMBER.pattern}$")),
):
    _YamlLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, None)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in pairs:
        if key in tree:
            raise UserError(f"{key}: duplicate key in one section")
        tree[key] = value
    return tree


def _no_constant(name: str) -> None:
    raise UserError(f"{name} is not a valid number")


def plain(value: Any) -> Any:
    """Converts integral floats and numpy's integers to integers, and tuples to lists, at every
    level.

    Raises:
        UserError: a string contains a lone surrogate, or a null character, which no path can have;
            or a key is no string.
        RecursionError: nested too deeply.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and ("\0" in value or not value.isascii()):
        _check_text(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise UserError(f"the key {key!r} is not a string")
        return {plain(key): plain(item) for key, item in value.items()}
    return value


def _check_text(text: str) -> None:
    try:
        valid = b"\0" not in text.encode()
    except UnicodeEncodeError:
        valid = False
    if not valid:
        raise UserError(f"{text!r} is not valid text")


def parse_json(text: str) -> Any:
    """Strict JSON: no NaN, no duplicate keys.

    Raises:
        ValueError: the text is not strict JSON.
    """
    return plain(json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant))


def _parse_yaml(text: str) -> Any:
    try:
        tree = yaml.load(text, _YamlLoader)
    except yaml.YAMLError:
        raise
    except (LookupError, AttributeError, TypeError) as error:  # as in `!!bool x`, `!!timestamp x`
        raise ValueError(f"a value does not fit its tag ({error!r})") from None
    left, todo = MAX_VALUES, [tree]
    while todo:
        value = todo.pop()
        left -= 1
        if left < 0:
            raise UserError(f"more than {MAX_VALUES} values")
        todo += (
            value if isinstance(value, list) else value.values() if isinstance(value, dict) else []
        )
    return plain(tree)


def _read(path: Path) -> dict[str, Any]:
    if path.suffix not in (".json", ".yaml", ".yml"):
        raise UserError(f"{path}: a configuration must end in .json, .yaml or .yml")
    try:
        text = read_bytes(path, most=MAX_BYTES).decode()
        tree = parse_json(text) if path.suffix == ".json" else _parse_yaml(text)
    except FileNotFoundError:
        raise UserError(f"{path}: no such configuration{_beside(path)}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({reason(error)})") from None
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}: not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        kind = path.suffix[1:].upper()
        raise UserError(f"{path}: not valid {kind}: {in_one_line(error)}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: a configuration must be an object of sections")
    return tree


def _beside(path: Path) -> str:
    folder = path.parent
    return nearest(path.name, [p.name for p in folder.iterdir()]) if folder.is_dir() else ""


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merges sections recursively; any other value is replaced."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = merge(old, value)
        result[key] = value
    return result


def read_tree(path: Path) -> dict[str, Any]:
    """Reads a file and those it extends; ``extends`` is a path relative to the file that contains
    it, or the name of a shipped configuration.

    Raises:
        UserError: a file is missing, unreadable, not valid JSON or YAML, or extends itself.
    """
    trees: list[dict[str, Any]] = []
    seen: list[Path] = []
    while True:
        try:
            tree = _read(path)
        except UserError as error:
            by = f"; {seen[-1]} extends it" if seen else ""
            raise UserError(f"{error}{by}") from None
        if path.resolve() in seen:
            raise UserError(f"{path}: extends itself")
        seen.append(path.resolve())
        trees.append(tree)
        parent = tree.pop("extends", None)
        if parent is None:
            break
        if not isinstance(parent, str):
            raise UserError(
                f"{path}: extends: must be a path relative to this file, or a shipped configuration"
            )
        beside, shipped = path.parent / parent, shipped_config(parent)
        path = beside if shipped is None or beside.is_file() else shipped
    result: dict[str, Any] = {}
    for tree in reversed(trees):
        result = merge(result, tree)
    return result


def parse_override(text: str) -> tuple[list[str], Any]:
    """``a.b=value`` to a path and a value: JSON where it parses, else a string.

    Raises:
        UserError: no ``=``, no key, or NaN.
    """
    key, equals, value = text.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise UserError(f"--set {text}: must be section.key=value")
    try:
        return path, parse_json(value)
    except UserError as error:
        raise UserError(f"--set {text}: {error}") from None
    except (ValueError, RecursionError):
        # Accept `.5` and `1.`, which JSON does not.
        number = _NUMBER.fullmatch(value.strip())
        return path, plain(float(number[0])) if number else value


def nest(path: list[str], value: Any) -> dict[str, Any]:
    """A tree with one value, at ``path``."""
    for key in reversed(path):
        value = {key: value}
    return value


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every value by its full name, such as ``sac.alpha``."""
    fields: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            fields |= flat(value, f"{prefix}{key}.")
        else:
            fields[f"{prefix}{key}"] = value
    return fields
