"""Optional packages, which the extras of this one install."""

from importlib import import_module
from typing import Any

from torchrl_lite.errors import UserError


def how_to_install(extra: str) -> str:
    return f"python -m pip install -e '.[{extra}]'"


def import_extra(name: str, extra: str, *, needed_by: str) -> Any:
    """
    Raises:
        UserError: the package is not installed, or cannot be imported; ``needed_by`` names the flag
            or field.
    """
    try:
        package: Any = import_module(name)
    except ImportError as error:
        if error.name != name:  # it is there, but something that it needs is not
            raise UserError(
                f"{needed_by}: the package {name} cannot be imported ({error})"
            ) from None
        package = None
    is_folder = hasattr(package, "__path__") and getattr(package, "__file__", None) is None
    if package is None or is_folder:  # any folder of this name can be imported
        raise UserError(f"{needed_by}: the package {name} is missing; {how_to_install(extra)}")
    return package
