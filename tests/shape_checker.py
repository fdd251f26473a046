"""Checks the shapes in the signatures of the package's functions, at every call."""

from collections.abc import Callable
from dataclasses import is_dataclass
from functools import wraps
from inspect import isclass
from typing import Any, get_args

import jaxtyping
from beartype import beartype
from jaxtyping import AbstractArray, install_import_hook, jaxtyped


def check_shapes(modules: list[str]) -> None:
    """Checks the functions of these modules, which must not have been imported yet.

    jaxtyping's own decorator binds the arguments of every function at every call, even without
    shapes, which would make training in tests 50% slower.
    """
    # The import hook applies what this name refers to: to every class and, below its other
    # decorators, to every function. `test_shapes_that_violate_a_signature_are_caught` tests it.
    jaxtyping.jaxtyped = lambda *, typechecker: _checked  # noqa: ARG005 - as the hook calls it
    install_import_hook(modules, None)


def _checked(target: Any) -> Any:
    if isclass(target):
        if is_dataclass(target):
            target.__init__ = _checked(target.__init__)
    elif any(_has_shape(hint) for hint in getattr(target, "__annotations__", {}).values()):
        return _function(beartype(target))
    return target


def _has_shape(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(_has_shape(part) for part in get_args(hint))


def _function(checked: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(checked)
    def call(*args: Any, **kwargs: Any) -> Any:
        with jaxtyped("context"):  # dimension sizes hold for one call
            return checked(*args, **kwargs)

    return call
