"""Configuration files and overrides as plain trees: reading, extending, merging."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml


class ConfigError(ValueError):
    """A user's mistake, told in one line."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """``; did you mean 'x'?``, or nothing where no name is near."""
    close = difflib.get_close_matches(name, list(allowed), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


class _YamlLoader(yaml.SafeLoader):
    """YAML 1.2 numbers: ``3e-4`` and ``.5`` are floats, not strings."""


_YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.\d*|\.\d+|\d+)([eE][-+]?\d+)?$"),
    list("-+.0123456789"),
)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ConfigError(f"{key}: stands twice in one section")
    return dict(pairs)


def _no_constant(name: str) -> None:
    raise ConfigError(f"{name} is not a number that JSON or a configuration knows")


def plain_numbers(value: Any) -> Any:
    """An integral float is an integer, everywhere."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [plain_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: plain_numbers(item) for key, item in value.items()}
    return value


def parse_json(text: str) -> Any:
    """Strict JSON: no NaN, no key twice.

    Raises:
        ValueError: anything else.
    """
    return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)


def _read(path: Path) -> dict[str, Any]:
    if path.suffix not in (".json", ".yaml", ".yml"):
        raise ConfigError(f"{path}: a configuration ends in .json, .yaml or .yml")
    try:
        text = path.read_text(encoding="utf-8")
        tree = parse_json(text) if path.suffix == ".json" else yaml.load(text, _YamlLoader)
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such configuration{_beside(path)}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{path}: no valid JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: no valid {path.suffix[1:].upper()}: {reason}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: a configuration is an object of sections")
    return tree


def _beside(path: Path) -> str:
    folder = path.parent
    return nearest(path.name, [p.name for p in folder.iterdir()]) if folder.is_dir() else ""


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Sections merge, everything else replaces."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = merge(old, value)
        result[key] = value
    return result


def read_tree(path: Path) -> dict[str, Any]:
    """The file with what it extends; ``extends`` is relative to the file it stands in.

    Raises:
        ConfigError: a file is missing, unreadable, no valid JSON or YAML, or extends itself.
    """
    trees: list[dict[str, Any]] = []
    seen: list[Path] = []
    while True:
        if path.resolve() in seen:
            raise ConfigError(f"{path}: extends itself")
        seen.append(path.resolve())
        tree = _read(path)
        trees.append(tree)
        parent = tree.pop("extends", None)
        if parent is None:
            break
        if not isinstance(parent, str):
            raise ConfigError(f"{path}: extends: a path relative to this file")
        path = path.parent / parent
    result: dict[str, Any] = {}
    for tree in reversed(trees):
        result = merge(result, tree)
    return result


def parse_override(text: str) -> tuple[list[str], Any]:
    """``a.b=value`` to a path and a value: JSON where it parses, else a string.

    Raises:
        ConfigError: no ``=``, no key, or NaN.
    """
    key, equals, value = text.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise ConfigError(f"--set {text}: give it as section.key=value")
    try:
        return path, parse_json(value)
    except ConfigError as error:
        raise ConfigError(f"--set {text}: {error}") from None
    except (ValueError, RecursionError):
        # `.5` and `1.` are numbers to a person, though not to JSON.
        number = re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", value.strip())
        return path, float(value) if number else value


def nest(path: list[str], value: Any) -> dict[str, Any]:
    """The tree that holds one value at a path."""
    for key in reversed(path):
        value = {key: value}
    return value
