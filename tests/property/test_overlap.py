"""Late rows show by counting, wherever they come, and what was read is left alone."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from polling_world import NOON, World, event_row

from claimx.domain.readings import Readings, middle_of, whole_second
from claimx.domain.times import MICROS_PER_SECOND, from_seconds
from claimx.services.overlap import MOST_COUNTED, Overlap

BEGIN = from_seconds(NOON - 100)
times = st.integers(1, 100 * MICROS_PER_SECOND).map(lambda after: BEGIN + after)
END = BEGIN + 100 * MICROS_PER_SECOND


class _Counted:
    """A source that notes how often it was counted."""

    def __init__(self, world: World) -> None:
        self._source = world.source
        self.counted = 0

    def count(self, after: int, until: int) -> int:
        self.counted += 1
        return self._source.count(after, until)


@given(read=st.lists(times, max_size=60), late=st.lists(times, max_size=6), page=st.integers(1, 20))
def test_every_late_row_lies_in_a_part_that_is_read_again(read, late, page):
    """And a part of which nothing is new is never among them, unless the counting was given up."""
    world = World(poll_batch=page)
    source = _Counted(world)
    for time in (*read, *late):
        world.source.add([event_row(None)], time)
    readings = Readings.from_text(_noted(read))

    parts = Overlap(world.runtime(make_source=lambda: source), BEGIN, END).unread(readings)

    assert all(any(part.after < time <= part.until for part in parts) for time in late)
    assert source.counted <= MOST_COUNTED
    assert bool(parts) == bool(late)
    assert all(one.until < other.after for one, other in pairwise(parts))


@given(read=st.lists(times, max_size=40), late=st.lists(times, max_size=6))
def test_what_was_read_again_is_known_from_then_on(read, late):
    world = World()
    for time in (*read, *late):
        world.source.add([event_row(None)], time)
    readings = Readings.from_text(_noted(read))
    overlap = Overlap(world.runtime(), BEGIN, END)

    for part in overlap.unread(readings):
        there = [time for time in (*read, *late) if part.after < time <= part.until]
        readings.replace(part.after, part.until, there)

    assert overlap.unread(Readings.from_text(readings.to_text())) == []


@given(after=st.integers(0, 10**8), length=st.integers(1, 10**8))
def test_a_span_is_halved_at_the_edge_of_a_second_or_not_at_all(after, length):
    middle = middle_of(after, after + length)

    if middle is None:
        assert whole_second(after + length - 1) <= after
    else:
        assert after < middle < after + length
        assert middle == whole_second(middle)


@given(st.text() | st.sampled_from(["[]", "{", '{"a":1}', '{"1":"x"}', "null"]))
def test_a_note_that_nobody_can_read_says_that_nothing_was_read(text):
    readings = Readings.from_text(text)

    assert readings.total(0, 10**18) >= 0


def _noted(read: list[int]) -> str:
    readings = Readings()
    readings.tally(read)
    return readings.to_text()
