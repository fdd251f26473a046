"""The files that ship with the package, found by name from any directory."""

from functools import cache
from pathlib import Path
from typing import Literal

from torchrl_lite.config.hints import nearest
from torchrl_lite.errors import UserError

_PACKAGE = Path(__file__).parents[1]
SUFFIXES = (".json", ".yaml", ".yml")
"""File name suffixes of a configuration."""


def shipped_folder(kind: Literal["config", "pretrained"]) -> Path:
    """``torchrl_lite/shipped/<kind>`` if installed from a wheel; in a checkout, which is also what
    an editable installation uses, ``<kind>`` beside the package."""
    installed = _PACKAGE / "shipped" / kind
    return installed if installed.is_dir() else _PACKAGE.parent / kind


@cache
def config_names() -> tuple[str, ...]:
    """Names of the shipped configurations, such as ``mt10`` and ``mujoco/halfcheetah``."""
    folder = shipped_folder("config")
    paths = sorted(folder.rglob("*.json"))
    return tuple(path.relative_to(folder).with_suffix("").as_posix() for path in paths)


def shipped_config(name: str) -> Path | None:
    """The file of a shipped configuration, whose name may end in ``.json``."""
    stem = name.removesuffix(".json")
    return shipped_folder("config") / f"{stem}.json" if stem in config_names() else None


def find_config(name: str | Path) -> Path:
    """The file of a shipped configuration, or ``name`` itself if it is a path.

    An existing file takes precedence. A path with the suffix of a configuration need not exist;
    reading it reports that.

    Raises:
        UserError: neither a path nor a shipped name.
    """
    path, shipped = Path(name), shipped_config(str(name))
    if shipped is not None and not path.is_file():
        return shipped
    try:
        if path.suffix in SUFFIXES or path.exists():
            return path
    except OSError:  # not a valid file name
        return path
    raise UserError(
        f"{str(name)!r} is neither a file nor a shipped configuration"
        f"{nearest(str(name), config_names())}"
    )
