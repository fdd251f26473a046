"""Commands handle generated bad inputs: a hundred attempts without a finding."""

import pytest
from resume.bad_inputs import verdicts


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_bad_inputs_cause_no_finding() -> None:
    tried = list(verdicts(1, range(100)))
    assert len(tried) == 100
    assert [one for one in tried if one.wrong] == []
