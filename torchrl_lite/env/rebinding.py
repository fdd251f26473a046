"""Runs Meta-World's methods with different globals, without changing Meta-World."""

from types import FunctionType
from typing import Any


def rebind(function: Any, names: dict[str, Any]) -> FunctionType:
    """A copy of a function with ``names`` as globals."""
    if "func" in function.__code__.co_freevars:  # wrapped by Meta-World's check that a task is set
        cells = dict(zip(function.__code__.co_freevars, function.__closure__, strict=True))
        function = cells["func"].cell_contents
    rebound = FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    rebound.__kwdefaults__ = function.__kwdefaults__
    return rebound
