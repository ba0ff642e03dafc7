from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimx.domain.batch import Batch


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_an_empty_batch_is_never_due(clock):
    batch = Batch(2, 5.0, clock)

    clock.now += 1e9

    assert not batch.due
    assert batch.seconds_left == 5.0


def test_it_is_due_when_one_table_has_its_rows(clock):
    batch = Batch(2, 5.0, clock)
    batch.add(["media", "tasks"])
    assert not batch.due

    batch.add(["tasks"])

    assert batch.due
    assert (batch.rows, batch.full) == (3, True)


def test_it_is_due_five_seconds_after_its_first_row(clock):
    batch = Batch(2, 5.0, clock)
    batch.add(["media"])
    clock.now += 3.0
    batch.add(["tasks"])
    assert (batch.due, batch.seconds_left) == (False, 2.0)

    clock.now += 2.0

    assert (batch.due, batch.seconds_left) == (True, 0.0)


def test_one_may_go_early_when_the_last_went_long_enough_ago(clock):
    batch = Batch(2, 5.0, clock)
    clock.now += 100.0
    assert not batch.may_go, "an empty one never goes"
    batch.add(["media"])
    alone = batch.may_go
    batch.clear()
    batch.add(["media"])
    clock.now += 3.9
    too_soon = batch.may_go
    clock.now += 0.1

    assert (alone, too_soon, batch.may_go) == (True, False, True)


def test_a_large_one_may_go_early_however_soon(clock):
    """Five hundred rows are no small file, and waiting would only make them late."""
    batch = Batch(2000, 5.0, clock)
    batch.clear()
    batch.add(["media"] * 499)
    small = batch.may_go
    batch.add(["media"])

    assert (small, batch.may_go) == (False, True)


def test_what_a_large_one_left_over_may_go_at_once(clock):
    """Only small files are dear to read: that a large one has just gone is no reason to wait."""
    batch = Batch(600, 5.0, clock)
    clock.now += 4.0
    batch.add(["media"] * 600)
    batch.clear()
    batch.add(["media"])
    left_over = batch.may_go
    batch.clear()
    batch.add(["media"])

    assert (left_over, batch.may_go) == (True, False), "one small one, then none for a moment"


def test_a_batch_that_is_full_is_never_small(clock):
    """Where a batch is few rows by its settings, a full one holds up nobody either."""
    batch = Batch(2, 5.0, clock)
    clock.now += 4.0
    batch.add(["media"] * 2)
    batch.clear()
    batch.add(["media"])

    assert batch.may_go


def test_clearing_an_empty_one_tells_nothing(clock):
    batch = Batch(2, 5.0, clock)
    clock.now += 4.0
    batch.clear()
    batch.add(["media"])

    assert batch.may_go


def test_a_record_without_rows_starts_the_clock_all_the_same(clock):
    batch = Batch(2, 5.0, clock)
    batch.add([])

    clock.now += 5.0

    assert batch.due


def test_clearing_begins_anew(clock):
    batch = Batch(1, 5.0, clock)
    batch.add(["media"])

    batch.clear()

    assert (batch.due, batch.rows, batch.seconds_left) == (False, 0, 5.0)


def test_a_clock_that_is_set_back_makes_nobody_wait_longer_than_the_age(clock):
    batch = Batch(2, 5.0, clock)
    batch.add(["media"])

    clock.now -= 3600.0

    assert batch.seconds_left == 5.0
    clock.now += 5.0
    assert batch.due


def test_a_small_batch_goes_early_though_the_clock_was_set_back(clock):
    batch = Batch(2, 5.0, clock)
    clock.now -= 3600.0
    batch.add(["media"])

    assert batch.may_go


@pytest.mark.parametrize(("rows", "seconds"), [(0, 5.0), (-1, 5.0), (1, -0.1)])
def test_limits_that_cannot_be_met_are_refused(rows, seconds):
    with pytest.raises(ValueError, match="never"):
        Batch(rows, seconds, float)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 3)), max_size=40),
    st.integers(1, 10),
    st.floats(0, 10),
)
def test_due_means_enough_rows_or_enough_time(arrivals, max_rows, max_seconds):
    clock = Clock()
    batch = Batch(max_rows, max_seconds, clock)
    first = clock.now

    for table, pause in arrivals:
        batch.add([table])
        clock.now += pause
        tables = [name for name, _ in arrivals[: batch.rows]]
        full = max(map(tables.count, tables)) >= max_rows
        assert batch.due == (full or first + max_seconds - clock.now <= 0)
