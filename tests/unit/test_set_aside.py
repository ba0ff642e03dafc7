"""A poll far behind sets aside what it does not get to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from polling_world import DAY, NOON, World, event_row, far_behind, work_off

from claimx.domain.cursors import Gap
from claimx.domain.polling import LIVE
from claimx.domain.records import event_record_id
from claimx.domain.times import MICROS_PER_SECOND, from_seconds
from claimx.services.catch_up_report import Ended
from claimx.services.poll import poll_once
from claimx.services.poll_report import Stop
from claimx.services.set_aside import MOST_GAPS


def test_a_poll_that_is_far_behind_sets_the_gap_aside_and_goes_on_with_what_is_new():
    """A live event must not wait until a million older ones are through."""
    world = far_behind()
    world.happened("of late", seconds_ago=world.limits.poll_overlap)

    first = poll_once(world.runtime())
    world.wait(30)
    world.happened("live", seconds_ago=10)
    second = poll_once(world.runtime())
    world.ingest()

    until = from_seconds(NOON - world.limits.poll_settle)
    assert first.set_aside == Gap(from_seconds(NOON - DAY), until, 101)
    assert world.ledger.gaps(LIVE) == [first.set_aside]
    assert world.ledger.checkpoint(LIVE).source_time == from_seconds(NOON + 20)
    assert (first.stopped, first.fresh) == (Stop.DRY, 0)
    assert (second.stopped, second.fresh, second.set_aside) == (Stop.DRY, 1, None)
    assert first.lag_seconds < 10
    assert world.admitted(["live", "old0"]) == {"live"}


def test_the_overlap_of_the_poll_does_not_reach_into_a_gap():
    """Of two rows with one id there, the later one would be read first."""
    world = far_behind()
    world.source.add([event_row("old0", project_id=99)], from_seconds(NOON - 20))
    poll_once(world.runtime())
    world.wait(30)

    report = poll_once(world.runtime())
    world.catch_up()
    world.ingest()

    assert report.rows == 0
    assert world.ledger.find(event_record_id("old0"))[0].data["project_id"] == "7"


def test_where_nothing_came_of_late_what_is_set_aside_ends_where_the_source_does():
    world = far_behind()
    last = from_seconds(NOON - DAY + 60 * 100)

    gap = poll_once(world.runtime()).set_aside

    assert gap
    assert last <= gap.until <= last + MICROS_PER_SECOND
    assert world.ledger.checkpoint(LIVE).source_time == gap.until


@pytest.mark.parametrize("ahead", [3600.0, 290.0, -3600.0, -290.0])
@pytest.mark.parametrize("jump", [True, False], ids=["for a moment", "all the time"])
def test_nothing_is_passed_over_where_the_ledgers_clock_is_not_the_sources(ahead, jump):
    """Set aside up to its own now, what the source brings until then would be nobody's."""
    world = far_behind(poll_start=datetime.fromtimestamp(NOON - DAY, UTC))
    world.happened("of late", seconds_ago=400)
    world.ledger_ahead = ahead
    assert poll_once(world.runtime()).set_aside
    world.ledger_ahead = 0.0 if jump else ahead
    for n in range(60):
        world.happened(f"new{n}", seconds_ago=1)
        world.caught_up(lambda: work_off(world))
        poll_once(world.runtime())
    world.clock += 4000  # a clock that is behind has to come to what was there
    poll_once(world.runtime())
    world.until(lambda: world.caught_up(lambda: work_off(world)))
    world.ingest()

    assert world.counters["event.admitted"] == 161


def test_rows_of_a_gap_that_show_late_are_waited_for():
    """Its reader passes once, so it must not pass before they have shown."""
    world = far_behind(99)
    world.happened("seen", seconds_ago=20)
    world.happened("late", seconds_ago=40, shown_in=250)
    poll_once(world.runtime())
    world.clock += 200

    def run() -> Ended:
        ended = world.catch_up().ended
        world.ingest()
        work_off(world)
        return ended

    world.until(lambda: run() is Ended.YOUNG)
    early = world.counters["event.admitted"] + 1  # of those that were there, the one of late
    world.until(lambda: world.caught_up(lambda: work_off(world)))

    assert early == 100
    assert world.counters["event.admitted"] == 101


def test_what_a_poll_reads_in_one_go_is_read_in_order():
    """Few rows, however old: order is worth more than the seconds that they cost."""
    world = far_behind(50)

    report = poll_once(world.runtime())

    assert report.set_aside is None
    assert report.fresh == 50


def test_a_short_outage_is_read_in_order_however_many_rows_it_left():
    world = World(far_pages=1, far_seconds=600.0, poll_start=590.0)
    for n in range(100):
        world.happened(f"e{n}", seconds_ago=500 - n)

    report = poll_once(world.runtime())

    assert report.set_aside is None
    assert report.fresh == 100


def test_a_source_that_is_read_up_to_now_is_not_even_counted():
    """Its last row may be days old: that is an idle source and no gap."""
    world = World()
    world.happened("last", seconds_ago=3000)
    poll_once(world.runtime())
    world.ingest()
    world.clock += 300
    source = _Uncounted(world)

    report = poll_once(world.runtime(make_source=lambda: source))

    assert report.stopped is Stop.DRY


def test_after_an_outage_the_gap_begins_before_the_checkpoint_by_the_overlap():
    """Rows of that time may have shown after the last poll before the outage."""
    world = World(far_pages=5)
    world.happened("last before", seconds_ago=50)
    world.happened("late", seconds_ago=60, shown_in=30)
    poll_once(world.runtime())
    world.ingest()
    world.clock += DAY
    for n in range(100):
        world.happened(f"old{n}", seconds_ago=3000 - n)

    report = poll_once(world.runtime())
    world.ingest()
    world.until(lambda: world.caught_up(lambda: work_off(world)))

    assert report.set_aside.after == from_seconds(NOON - 50 - world.limits.poll_overlap)
    assert world.counters["event.admitted"] == 102


def test_of_two_pollers_one_sets_aside():
    world = far_behind()
    slow = world.runtime("slow", ledger=_Overtaken(world))

    report = poll_once(slow)

    assert report.stopped is Stop.SUPERSEDED
    assert len(world.ledger.gaps(LIVE)) == 1


def test_a_dry_run_sets_nothing_aside():
    world = far_behind()

    report = poll_once(world.runtime(), dry_run=True)

    assert report.set_aside is None
    assert world.ledger.gaps(LIVE) == []


def test_gaps_that_become_too_many_are_kept_as_one():
    world = World(far_pages=1, poll_start=3600.0)
    for outage in range(MOST_GAPS + 2):
        for n in range(30):
            world.happened(f"e{outage}-{n}", seconds_ago=2000 - n)
        assert poll_once(world.runtime()).set_aside
        world.ingest()
        world.clock += 3600

    gaps = world.ledger.gaps(LIVE)
    assert len(gaps) == MOST_GAPS
    assert gaps[-1].until > from_seconds(NOON + MOST_GAPS * 3600)


class _Uncounted:
    """A source of which nobody may count what was not read yet."""

    def __init__(self, world: World) -> None:
        self.page = world.source.page
        self._count = world.source.count
        self._read = world.ledger.checkpoint(LIVE).source_time

    def count(self, after: int, until: int) -> int:
        assert until <= self._read, "new rows were counted"
        return self._count(after, until)


class _Overtaken:
    """A ledger on which another poller sets aside first."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ledger = world.ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def set_aside(self, *args: Any) -> Any:
        self._world.clock += self._world.limits.reader_lease + 1
        assert poll_once(self._world.runtime("fast")).set_aside
        return self._ledger.set_aside(*args)
