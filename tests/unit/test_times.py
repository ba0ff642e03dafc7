"""Times: waits by a clock that may be set back."""

from __future__ import annotations

import pytest

from claimx.domain.times import age, seconds_left


@pytest.mark.parametrize(
    ("until", "left"), [(90.0, 0.0), (100.0, 0.0), (101.0, 1.0), (130.0, 30.0), (132.0, 0.0)]
)
def test_a_wait_is_over_at_its_time_and_when_the_clock_was_set_back(until, left):
    """Longer than such a wait ever takes it would be as long as the jump of the clock."""
    assert seconds_left(until, 100.0, 30.0) == left


@pytest.mark.parametrize(("moment", "old"), [(70.0, 30.0), (100.0, 0.0), (130.0, 30.0)])
def test_what_lies_ahead_is_as_old_as_it_is_far(moment, old):
    """Else it would be new for as long as the clock was set back."""
    assert age(moment, 100.0) == old
