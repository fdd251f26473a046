"""The generator of bad inputs: what it calls a finding, and a hundred attempts."""

import pytest
from resume.bad_inputs import verdicts


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_bad_inputs() -> None:
    found = list(verdicts(1, range(100)))
    assert len(found) == 100 and not [one for one in found if one.wrong]
