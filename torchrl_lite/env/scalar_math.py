"""Bit-identical scalar versions of what Meta-World computes with numpy and scipy.

numpy takes microseconds to dispatch a few floating-point operations; Meta-World's rewards call it
dozens of times per step on three numbers. These functions return the same bits and types (which
decide the precision of the next operation), and pass unusual arguments on to the original.
"""

from math import sqrt
from types import SimpleNamespace
from typing import Any

import numpy as np
from metaworld.utils import reward_utils
from numpy import float64, ndarray
from scipy.spatial.transform import Rotation


def norm(x: Any, *args: Any, **kwargs: Any) -> Any:
    """``numpy.linalg.norm``: for a vector, the square root of its dot product with itself."""
    if not args and (not kwargs or kwargs == {"ord": 2}):
        if type(x) is ndarray and x.dtype.char == "d" and x.ndim == 1:
            return float64(sqrt(x.dot(x)))
        if type(x) is float64 and not kwargs:
            return float64(sqrt(x * x))
    return np.linalg.norm(x, *args, **kwargs)


def hstack(parts: Any, **kwargs: Any) -> Any:
    """``numpy.hstack``, fast for scalars."""
    if not kwargs and all(type(part) is float64 for part in parts):
        return np.array(parts)
    return np.hstack(parts, **kwargs)


_AT_MARGIN = 0.1
_LONG_TAIL = float(np.sqrt(1 / _AT_MARGIN - 1))
_GAUSSIAN = float(np.sqrt(-2 * np.log(_AT_MARGIN)))


def tolerance(
    x: Any,
    bounds: tuple[Any, Any] = (0.0, 0.0),
    margin: Any = 0.0,
    sigmoid: str = "gaussian",
    value_at_margin: float = _AT_MARGIN,
) -> Any:
    """dm_control's ``reward_utils.tolerance``, fast for one number."""
    lower, upper = bounds
    scalar = isinstance(x, float) and isinstance(margin, float)
    # With a tiny margin the square overflows, which Python and numpy handle differently.
    usual = scalar and margin > 1e-100 and lower <= upper
    if not usual or value_at_margin != _AT_MARGIN or sigmoid not in ("long_tail", "gaussian"):
        return reward_utils.tolerance(x, bounds, margin, sigmoid, value_at_margin)
    if lower <= x <= upper:
        return 1.0
    distance = float(lower - x if x < lower else x - upper) / float(margin)
    if sigmoid == "long_tail":
        return 1 / ((distance * _LONG_TAIL) ** 2 + 1)
    return float(np.exp(-0.5 * (distance * _GAUSSIAN) ** 2))


class Quaternion:
    """``Rotation.from_matrix`` for a proper rotation matrix, such as MuJoCo's."""

    @staticmethod
    def from_matrix(matrix: ndarray) -> Any:
        if matrix.shape != (3, 3):
            return Rotation.from_matrix(matrix)
        return Quaternion(matrix)

    def __init__(self, matrix: ndarray) -> None:
        self._matrix = matrix

    def as_quat(self) -> ndarray:
        """``(x, y, z, w)``, from the largest of four candidates (Markley 2008)."""
        (a, b, c), (d, e, f), (g, h, i) = self._matrix.tolist()
        trace = a + e + i
        if trace > a and trace > e and trace > i:
            x, y, z, w = h - f, c - g, d - b, 1 + trace
        elif a >= e and a >= i:
            x, y, z, w = 1 - trace + 2 * a, d + b, g + c, h - f
        elif e >= i:
            x, y, z, w = d + b, 1 - trace + 2 * e, h + f, c - g
        else:
            x, y, z, w = g + c, h + f, 1 - trace + 2 * i, d - b
        length = sqrt(x * x + y * y + z * z + w * w)
        return np.array((x / length, y / length, z / length, w / length))


numpy = SimpleNamespace(
    **vars(np) | {"linalg": SimpleNamespace(**vars(np.linalg) | {"norm": norm}), "hstack": hstack}
)
"""numpy with the functions above."""
rewards = SimpleNamespace(**vars(reward_utils) | {"tolerance": tolerance})
"""``metaworld.utils.reward_utils`` with `tolerance`."""
