"""Imports the modules that ``env.imports`` names, which may be in the current directory."""

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

from torchrl_lite.config.extras import how_to_install
from torchrl_lite.errors import UserError

_EXTRAS = {"sai_mujoco": "soccer"}
"""Packages that one of our extras installs."""


def import_modules(names: Iterable[str]) -> None:
    """Import them, which runs their code: they register Gymnasium's ids or wrappers.

    Raises:
        UserError: one cannot be imported.
    """
    for name in names:
        _search_here()
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # importing a script may exit
            extra = _EXTRAS.get(name)
            hint = f"; install it with {how_to_install(extra)}" if extra else ""
            raise UserError(
                f"env.imports: {name!r} cannot be imported ({type(error).__name__}: {error}){hint}"
            ) from None


def module_file(name: str) -> Path | None:
    """The file that importing ``name`` would run, found without running anything; None if there is
    no such file, or more than one: a package, or a module in one, may run all of its files."""
    if "." in name:
        return None
    _search_here()
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.has_location or spec.origin is None:
        return None
    if spec.submodule_search_locations is not None:
        return None
    return Path(spec.origin).resolve()


def _search_here() -> None:
    if not {"", str(Path.cwd())} & set(sys.path):
        sys.path.append(str(Path.cwd()))  # last, so that a file here hides no installed package
