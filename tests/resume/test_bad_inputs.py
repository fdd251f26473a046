"""The generator of bad inputs: what it calls a finding, and a hundred attempts."""

import pytest
from resume.attempt import Attempt
from resume.bad_inputs import judge, verdicts

TRAIN = Attempt("train", [], ("a.json",))
WEIGHTS = Attempt("play", [], ("a.pt",), may_fail=True)
LINE = "error: a.json: wrong\n"


@pytest.mark.parametrize(
    ("attempt", "code", "error", "changed", "cpu_s", "wrong"),
    [
        (TRAIN, 0, "", True, 0.1, ""),
        (TRAIN, 2, LINE, False, 0.1, ""),
        (WEIGHTS, 1, "error: a.pt: damaged\n", False, 0.1, ""),
        (Attempt("diagnose", [], ()), 1, "", False, 0.1, ""),
        (TRAIN, 2, LINE, True, 0.1, "changed files"),
        (TRAIN, 2, "error: wrong\n", False, 0.1, "names nothing"),
        (TRAIN, 2, LINE + "and more\n", False, 0.1, "2 lines"),
        (TRAIN, 2, "", False, 0.1, "0 lines"),
        (TRAIN, 1, LINE, False, 0.1, "its exit code"),
        (TRAIN, -1, "Traceback", False, 0.1, "its exit code"),
        (TRAIN, 0, "Traceback", False, 0.1, "a traceback"),
        (TRAIN, 2, LINE, False, 11.0, "took 11 s"),
    ],
)
def test_what_is_a_finding(
    attempt: Attempt, code: int, error: str, changed: bool, cpu_s: float, wrong: str
) -> None:
    assert judge(attempt, code, error, changed=changed, cpu_s=cpu_s) == wrong


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_bad_inputs() -> None:
    found = list(verdicts(1, range(100)))
    assert len(found) == 100 and not [one for one in found if one.wrong]
