"""The type checker that the tests put around every function of the project."""

from collections.abc import Callable
from typing import Any, TypeVar

from beartype import beartype
from beartype.roar import BeartypeDecorHintPep673Exception, BeartypeDecorHintPep3119Exception

F = TypeVar("F", bound=Callable[..., Any])


def checked(function: F) -> F:
    """Checks arguments and result at every call, shapes included.

    Two kinds of hint cannot be checked, and a function with one stays as it is: ``Self`` (it has
    a meaning only where a whole class is decorated) and protocols that are static only.
    """
    try:
        return beartype(function)
    except (BeartypeDecorHintPep673Exception, BeartypeDecorHintPep3119Exception):
        return function
