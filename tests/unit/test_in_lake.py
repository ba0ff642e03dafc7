"""Which unseen events the lake has: the answer of a plain look-up, with fewer of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimx.adapters.memory.lake import MemoryLake
from claimx.domain.changes import Change, Source
from claimx.domain.errors import Unavailable
from claimx.domain.events import Event
from claimx.domain.tables import EVENTS
from claimx.domain.times import MICROS_PER_SECOND, Micros, day_of, from_seconds
from claimx.services.in_lake import FRESH_SECONDS, FURTHEST, InLake
from tests.polling_world import NOON, World

MINUTE = 60 * MICROS_PER_SECOND
START = from_seconds(NOON)


class CountingLake(MemoryLake):
    """Tells how often it was asked, and the longest span that it was asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.longest: Micros = 0
        self.away = False

    def recent_events(self, since: Micros, until: Micros, limit: int) -> list[str]:
        if self.away:
            raise Unavailable("the lake is away")
        self.asked += 1
        self.longest = max(self.longest, until - since)
        return super().recent_events(since, until, limit)


def lake_of(*events: Event) -> CountingLake:
    lake = CountingLake()
    put(lake, *events)
    return lake


def put(lake: MemoryLake, *events: Event) -> None:
    rows = [
        {"event_id": one.event_id, "ingested_at": one.time, "event_date": day_of(one.time)}
        for one in events
    ]
    changes = [
        Change(EVENTS.name, row, Source.RESULT, one.event_id, one.time)
        for row, one in zip(rows, events, strict=True)
    ]
    lake.upsert(EVENTS, changes, START)


def event(number: int, time: Micros) -> Event:
    return Event(f"e{number}", "PROJECT_CREATED", "7", time, time)


def minutes(first: int, count: int = 10) -> list[Event]:
    """A page: *count* events, a minute apart."""
    return [event(n, START + n * MINUTE) for n in range(first, first + count)]


def look_up(world: World, lake: MemoryLake) -> InLake:
    return InLake(world.runtime(make_lake=lambda: lake))


def test_a_backlog_that_the_lake_knows_nothing_of_costs_few_look_ups():
    """A first run's backlog cost one a page, each through the log of the whole table."""
    world, lake = World(), lake_of()
    in_lake = look_up(world, lake)
    assert not any(in_lake.of(minutes(first)) for first in range(0, 600, 10))
    assert lake.asked <= 8
    assert lake.longest <= FURTHEST * 10 * MINUTE


def test_where_the_lake_has_events_no_look_up_asks_further_than_the_page():
    """A day of a busy source is millions of rows: one page's span must not read them all."""
    world, lake = World(), lake_of(*minutes(0, 1000))
    in_lake = look_up(world, lake)
    pages = [minutes(first) for first in range(0, 100, 10)]
    for page in pages:
        assert in_lake.of(page) == {one.event_id for one in page}
    assert lake.longest <= 10 * MINUTE
    assert lake.asked == len(pages)


def test_a_page_with_one_late_row_is_asked_no_further_than_twice_what_was_empty():
    """Its own span is a day at once, and 32 days of a busy source would be read for it."""
    world, lake = World(), lake_of()
    in_lake = look_up(world, lake)
    for first in range(0, 600, 10):
        in_lake.of(minutes(first))
    world.wait(FRESH_SECONDS)
    lake.longest = 0
    day = 24 * 60
    assert in_lake.of([*minutes(0), event(day, START + day * MINUTE)]) == set()
    assert lake.longest == day * MINUTE


def test_what_is_found_far_ahead_is_found_in_its_page():
    """That something is somewhere ahead says nothing of the page that is asked about."""
    there = minutes(70, 1)
    world, lake = World(), lake_of(*there)
    in_lake = look_up(world, lake)
    found = [in_lake.of(minutes(first)) for first in range(0, 200, 10)]
    assert found == [{"e70"} if first == 70 else set() for first in range(0, 200, 10)]


def test_an_empty_span_is_asked_about_anew_after_a_while():
    """A backfill runs for hours, and by then the ledger may have forgotten what was finished."""
    world, lake = World(), lake_of()
    in_lake = look_up(world, lake)
    assert in_lake.of(minutes(0)) == set()
    put(lake, *minutes(0, 3))
    world.wait(FRESH_SECONDS)
    assert in_lake.of(minutes(0)) == {"e0", "e1", "e2"}


@pytest.mark.parametrize("back", [1.0, 3600.0])
def test_a_clock_that_is_set_back_makes_no_answer_fresh_for_longer(back):
    """Else an answer of before would hold until the clock is where it was."""
    world, lake = World(), lake_of()
    in_lake = look_up(world, lake)
    in_lake.of(minutes(0))
    put(lake, *minutes(0, 3))
    world.wait(-back)
    assert in_lake.of(minutes(0)) == {"e0", "e1", "e2"}


def test_what_it_knows_is_forgotten_when_the_ledger_may_have_lost_something():
    """What was finished since it asked is unseen then, and in the lake."""
    world, lake = World(), lake_of()
    in_lake = look_up(world, lake)
    in_lake.of(minutes(0))
    put(lake, *minutes(0, 3))
    in_lake.forget()
    assert in_lake.of(minutes(0)) == {"e0", "e1", "e2"}


def test_only_those_in_doubt_are_looked_up():
    """Of a healthy poller's rows none is: a look-up reads the ids of whole days."""
    world, lake = World(), lake_of(*minutes(0))
    in_lake = InLake(
        world.runtime(make_lake=lambda: lake), ask=lambda time: time < START + 5 * MINUTE
    )
    assert in_lake.of(minutes(0)) == {f"e{n}" for n in range(5)}
    assert in_lake.of(minutes(5, 5)) == set()
    assert lake.asked == 1


def test_a_lake_that_is_away_ends_the_reading_unless_it_may_fail():
    """A poll does the events again, to the same rows; a backfill waits, for it is told to."""
    world, lake = World(), lake_of(*minutes(0))
    lake.away = True
    with pytest.raises(Unavailable):
        look_up(world, lake).of(minutes(0))
    forgiving = InLake(world.runtime(make_lake=lambda: lake), may_fail=True)
    assert forgiving.of(minutes(0)) == set()
    lake.away = False
    assert len(forgiving.of(minutes(0))) == 10


_times = st.integers(0, 3 * 24 * 60).map(lambda minute: START + minute * MINUTE)


@given(
    stored=st.lists(_times, max_size=30),
    pages=st.lists(st.lists(_times, min_size=1, max_size=8), max_size=20),
)
def test_it_finds_what_a_look_up_of_every_id_finds(stored, pages):
    """Whatever the order of the pages and the times in them: a shortcut changes no answer."""
    world = World()
    lake = lake_of(*(event(time // MINUTE, time) for time in stored))
    in_lake = look_up(world, lake)
    for page in pages:
        events = [event(time // MINUTE, time) for time in page]
        plain = {one.event_id for one in events if one.time in stored}
        assert in_lake.of(events) == plain
