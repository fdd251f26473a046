"""Scalar versions match NumPy, SciPy and dm_control bit for bit, including the type."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metaworld.utils import reward_utils
from numpy.testing import assert_array_equal
from scipy.spatial.transform import Rotation

from torchrl_lite.env import scalar_math

LENGTHS = st.floats(0, 10) | st.floats(0, 1e-6)
SCALARS = st.sampled_from([float, np.float64])
KINDS = ["gaussian", "hyperbolic", "long_tail", "reciprocal", "cosine", "linear", "quadratic"]


def assert_same(ours: Any, theirs: Any) -> None:
    assert type(ours) is type(theirs)
    assert_array_equal(ours, theirs)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=300, derandomize=True, deadline=None)
@given(LENGTHS, st.tuples(LENGTHS, LENGTHS), LENGTHS, SCALARS, SCALARS, st.sampled_from(KINDS))
def test_tolerance(x: float, ends: Any, margin: float, kind: Any, other: Any, sigmoid: str) -> None:
    arguments = (kind(x), tuple(sorted(ends)), other(margin), sigmoid)
    assert_same(scalar_math.tolerance(*arguments), reward_utils.tolerance(*arguments))


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.lists(st.floats(-10, 10) | st.floats(-1e-160, 1e-160), min_size=1, max_size=4))
def test_norm(values: list[float]) -> None:
    x = np.array(values)
    assert_same(scalar_math.norm(x), np.linalg.norm(x))
    assert_same(scalar_math.norm(x, ord=2), np.linalg.norm(x, ord=2))
    assert_same(scalar_math.norm(x[0]), np.linalg.norm(x[0]))
    assert_same(scalar_math.norm(x.astype(np.float32)), np.linalg.norm(x.astype(np.float32)))


@pytest.mark.parametrize(
    "parts",
    [
        (np.float64(1), np.float64(2)),
        (np.arange(3.0), np.float64(2)),
        (1.0, 2.0),
        [np.float32(1), np.float64(2)],
        (np.arange(3), np.arange(4)),
    ],
)
def test_hstack(parts: Any) -> None:
    assert_same(scalar_math.hstack(parts), np.hstack(parts))
    assert scalar_math.hstack(parts).dtype == np.hstack(parts).dtype


def rotations() -> np.ndarray:
    """Random and tiny ones, and right angles, where the quaternion candidates tie."""
    rng = np.random.default_rng(0)
    tiny = rng.normal(size=(300, 3)) * 10.0 ** -rng.integers(0, 9, (300, 1))
    right = 90 * rng.integers(0, 4, (300, 3))
    groups = (
        Rotation.random(300, random_state=rng),
        Rotation.from_rotvec(tiny),
        Rotation.from_euler("xyz", right, degrees=True),
    )
    return np.concatenate([rotation.as_matrix() for rotation in groups])


def test_quaternions_match_scipy() -> None:
    for matrix in rotations():
        ours = scalar_math.Quaternion.from_matrix(matrix).as_quat()
        assert ours.tobytes() == Rotation.from_matrix(matrix).as_quat().tobytes()


@pytest.mark.parametrize("value", [np.float32(0.3), np.array(0.3), np.array([0.1, 0.3]), 1])
def test_tolerance_of_other_types(value: Any) -> None:
    arguments = (value, (0, 0.05), 0.4, "long_tail")
    assert_same(scalar_math.tolerance(*arguments), reward_utils.tolerance(*arguments))


def test_other_arguments_fall_back_to_the_original() -> None:
    for bounds, margin in (((1, 0), 0.1), ((0, 1), -0.1)):
        with pytest.raises(ValueError, match=r"[bB]ound|margin"):
            scalar_math.tolerance(0.5, bounds, margin, "long_tail")
    x = np.arange(6.0).reshape(2, 3)
    assert_same(scalar_math.norm(x), np.linalg.norm(x))
    assert_same(scalar_math.norm(x, axis=1), np.linalg.norm(x, axis=1))
    assert_same(scalar_math.norm(x[0], 1), np.linalg.norm(x[0], 1))
    several = rotations()[:4]
    ours = scalar_math.Quaternion.from_matrix(several).as_quat()
    assert_array_equal(ours, Rotation.from_matrix(several).as_quat())
