"""A poll that is far behind: what it sets aside, and how that is read beside the live events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from polling_world import NOON, World, event_row

from claimx.adapters.memory.ledger import MemoryLedger
from claimx.domain.cursors import Checkpoint, Gap
from claimx.domain.errors import Unavailable
from claimx.domain.polling import LIVE
from claimx.domain.records import Stage, event_record_id
from claimx.domain.times import MICROS_PER_SECOND, from_seconds
from claimx.services.catch_up import AHEAD_PAGES, PATIENCE_SECONDS, Ended, progress_of
from claimx.services.poll import Stop, poll_once
from claimx.services.recover import FORGOT
from claimx.services.set_aside import MOST_GAPS

DAY = 86_400.0


def far_behind(events: int = 100, **limits: Any) -> World:
    """A first start a day back, with events in the first hours of that day, ten rows a page."""
    world = World(**{"poll_start": DAY, "far_pages": 5} | limits)
    for n in range(events):
        world.happened(f"old{n}", seconds_ago=DAY - 60 * (n + 1))
    return world


def work_off(world: World) -> None:
    """Do what workers do with events: they are in the lake, and no longer in flight."""
    ids = world.hints.taken(Stage.ENRICH)
    for record in world.ledger.claim(Stage.ENRICH, ids, 30):
        world.finished(record.data["event_id"], at=record.data["time"] / MICROS_PER_SECOND)
        del world.ledger._records.by_id[record.id]
        world.ledger._records.counters["event.recorded"] += 1


# --- setting aside


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


# --- catching up


def test_everything_that_was_set_aside_is_admitted_and_the_gap_closed():
    world = far_behind()
    poll_once(world.runtime())
    world.ingest()

    world.until(lambda: world.caught_up(lambda: work_off(world)))

    assert world.counters["event.admitted"] == 100
    assert world.ledger.gaps(LIVE) == []
    assert world.catch_up().ended is Ended.NOTHING
    assert world.metrics.values["catch_up_seconds", ()] == 0
    assert world.metrics.values["poll_rows", ("catch-up",)] == 100


def test_where_nothing_is_set_aside_a_run_costs_one_read():
    world = World()

    report = world.catch_up(make_source=_nowhere)

    assert report.ended is Ended.NOTHING


def test_a_run_stays_a_few_pages_before_the_workers():
    """Live events stand in the same queues: they must not wait behind a backlog."""
    world = far_behind()
    poll_once(world.runtime())
    before = world.clock

    report = world.catch_up()

    assert report.ended is Ended.PRESSURE
    assert report.rows == 10 * (AHEAD_PAGES + 1)
    assert world.clock - before < PATIENCE_SECONDS + 1


def test_a_run_waits_for_workers_that_are_at_it():
    world = far_behind()
    poll_once(world.runtime())

    def working(seconds: float) -> None:
        world.wait(seconds)
        world.ingest()
        work_off(world)

    report = world.catch_up(gates=_Ticking(world, working))

    assert report.rows > 10 * (AHEAD_PAGES + 1)


@pytest.mark.parametrize(("interval", "pages"), [(300.0, 4), (20.0, 3), (1.0, 1)])
def test_a_run_leaves_a_worker_with_one_child_to_the_poll(interval, pages):
    """Both come from one queue: a run ends well within the time that a poll's message lives."""
    world = far_behind(poll_interval=interval)
    poll_once(world.runtime())

    report = world.catch_up(make_source=lambda: _Slow(world, seconds=4.0))

    assert (report.ended, report.pages) == (Ended.TIME, pages)


def test_it_takes_no_more_than_half_of_the_flight():
    """The other half is the live poll's, whatever stands still."""
    world = far_behind(max_in_flight=40)
    poll_once(world.runtime())
    for _ in range(10):
        world.catch_up()
        world.ingest()
        world.ledger.claim(Stage.ENRICH, world.hints.taken(Stage.ENRICH), 1e6)  # stands still
    world.happened("live", seconds_ago=20)

    live = poll_once(world.runtime())

    assert world.ledger.active() == 20
    assert live.fresh == 1


def test_a_page_larger_than_its_share_is_read_in_smaller_ones():
    world = far_behind(max_in_flight=8)
    poll_once(world.runtime())

    report = world.catch_up()

    assert 0 < report.rows <= 4


def test_of_two_rows_with_one_id_the_first_of_a_gap_stands_whatever_page_they_are_on():
    world = World(poll_batch=1, poll_start=DAY, far_pages=1)
    world.source.add([event_row("e1", project_id=1)], from_seconds(NOON - 9000))
    world.source.add([event_row("e1", project_id=2)], from_seconds(NOON - 8000))
    poll_once(world.runtime())

    report = world.catch_up()
    world.ingest()

    assert (report.rows, report.fresh, report.known) == (2, 1, 1)
    assert world.ledger.find(event_record_id("e1"))[0].data["project_id"] == "1"


def test_a_run_begins_when_the_pages_of_the_last_one_are_ingested():
    """What they hold is not seen yet: a later row could overtake an earlier one of its id."""
    world = far_behind()
    poll_once(world.runtime())
    first = world.catch_up(seconds=0.05)

    second = world.catch_up()

    assert first.rows == 40
    assert (second.ended, second.rows) == (Ended.PRESSURE, 0)


def test_a_page_of_an_earlier_run_that_nobody_has_ingested_is_waited_for():
    """One page holds up no reader by its size; but a later row of its ids must not overtake."""
    world = far_behind(9)
    world.happened("old0", seconds_ago=DAY - 600)
    world.source.add([event_row("old0", project_id=8)], from_seconds(NOON - DAY + 900))
    for n in range(60):
        world.happened(f"more{n}", seconds_ago=DAY - 1000 - n)
    poll_once(world.runtime())

    first = world.catch_up(make_source=lambda: _Lasting(world))
    second = world.catch_up()
    world.ingest()
    third = world.catch_up(seconds=0.05)
    world.ingest()

    assert (first.ended, first.rows) == (Ended.TIME, 10)
    assert (second.ended, second.rows) == (Ended.PRESSURE, 0)
    assert third.known == 1
    assert world.ledger.find(event_record_id("old0"))[0].data["project_id"] == "7"


@pytest.mark.parametrize("mark", [1, 2])
def test_the_least_mark_that_can_be_set_lets_everything_through_one_by_one(mark):
    world = far_behind(12, max_in_flight=mark, far_pages=1)
    assert poll_once(world.runtime()).set_aside

    for n in range(12):
        world.happened(f"live{n}", seconds_ago=6)
        poll_once(world.runtime())
        world.ingest()
        work_off(world)
        world.caught_up(lambda: work_off(world))
    world.until(lambda: world.caught_up(lambda: work_off(world)))

    assert world.counters["event.admitted"] == 24


def test_a_run_that_died_goes_on_where_it_stopped():
    world = far_behind()
    poll_once(world.runtime())
    with pytest.raises(KeyboardInterrupt):
        world.catch_up(make_source=lambda: _Dying(world.source, pages=2))
    world.clock += world.limits.reader_lease + 1
    world.ingest()
    calls = len(world.source.calls)

    report = world.catch_up("another")

    assert report.known == 0
    assert world.source.calls[calls][0] == from_seconds(NOON - DAY + 20 * 60)


def test_a_gap_that_is_extended_while_it_is_read_is_read_to_its_new_end():
    world = far_behind(15, far_pages=1)
    poll_once(world.runtime())
    gap = world.ledger.gaps(LIVE)[0]
    world.happened("beyond", seconds_ago=0)
    longer = Gap(gap.until - 1, from_seconds(NOON + 60))
    ledger = _Extended(world.ledger, longer)
    world.clock += 60 + world.limits.poll_overlap

    report = world.catch_up(ledger=ledger)
    world.ingest()

    assert report.ended is Ended.DONE
    assert world.admitted(["beyond"])


def test_only_one_process_catches_up():
    world = far_behind()
    poll_once(world.runtime())
    world.gates.lock("poll:catch-up", "another", 30.0)

    assert world.catch_up().ended is Ended.BUSY


@pytest.mark.parametrize("pages", [0, 1])
def test_one_that_cannot_ask_for_its_lease_ends_and_the_next_one_goes_on(pages):
    world = far_behind()
    poll_once(world.runtime())

    class Away:
        """Redis is away from some asking on."""

        unlock = world.gates.unlock
        left = pages

        def lock(self, *args: Any) -> Any:
            self.left -= 1
            world.gates.away = self.left < 0
            return world.gates.lock(*args)

    failed = world.catch_up(gates=Away())
    world.gates.away = False

    assert (failed.ended, "whose the lease" in failed.error) == (Ended.FAILED, True)
    world.wait(world.limits.reader_lease + 1)
    world.until(lambda: world.caught_up(lambda: work_off(world)))
    assert world.ledger.gaps(LIVE) == []


def test_a_process_that_was_overtaken_stores_nothing_more():
    world = far_behind()
    poll_once(world.runtime())
    reader = world.ledger.gaps(LIVE)[0].reader
    source = _Meanwhile(
        world.source,
        lambda: world.ledger.store_page(
            reader, world.ledger.checkpoint(reader), from_seconds(NOON - 9000), []
        ),
    )

    report = world.catch_up(make_source=lambda: source)

    assert (report.ended, report.rows) == (Ended.SUPERSEDED, 0)


@pytest.mark.parametrize("what", ["source", "lake"])
def test_a_failure_ends_the_run_and_the_next_one_tries_again(what):
    """Unlike a live poll it can wait for the lake: asking saves the calls for whole days."""
    world = far_behind()
    poll_once(world.runtime())
    away: dict[str, Any] = {}
    if what == "source":
        world.source.failures.append(Unavailable("Kusto cannot be reached"))
    else:
        away["make_lake"] = _LakeAway

    first = world.catch_up(**away)
    second = world.catch_up()

    assert (first.ended, first.rows) == (Ended.FAILED, 0)
    assert second.fresh > 0


def test_what_the_lake_has_is_dropped_and_noted_as_forgotten():
    """An older copy of Redis was put back: the media of that time are to be recovered."""
    world = far_behind()
    for n in range(100):
        world.finished(f"old{n}", at=NOON - DAY + 60 * (n + 1))
    poll_once(world.runtime())
    world.clock += 60

    report = world.catch_up()

    assert (report.fresh, report.known) == (0, 100)
    assert world.ledger.checkpoint(FORGOT) is not None


def test_which_events_the_lake_has_is_asked_only_where_it_has_some_of_that_time():
    """Of a gap that nobody has read it has none, and the look-up reads the ids of whole days."""
    world = far_behind()
    world.finished("another", at=NOON - DAY + 15 * 60)
    poll_once(world.runtime())
    lake = _Asked(world.lake)

    report = world.catch_up(make_lake=lambda: lake)

    assert report.pages == AHEAD_PAGES + 1
    assert lake.asked == 10, "the ids of the one page in whose time it falls"


def test_a_process_that_is_to_end_reads_no_more():
    world = far_behind()
    poll_once(world.runtime())
    runtime = world.runtime("ending")
    runtime.stopping = lambda: True

    from claimx.services.catch_up import catch_up

    assert catch_up(runtime, sleep=world.wait).ended is Ended.TIME


def test_progress_is_told_in_time_and_rows():
    world = World(poll_batch=10, poll_start=DAY, far_pages=5, poll_settle=0.0)
    for n in range(59):
        world.happened(f"old{n}", seconds_ago=DAY - 1 - n * 1200)
    world.happened("of late", seconds_ago=0)
    poll_once(world.runtime())
    world.catch_up(seconds=0.0)
    world.ingest()
    started = progress_of(world.ledger)

    world.catch_up()
    world.ingest()
    world.ledger.claim(Stage.ENRICH, world.hints.taken(Stage.ENRICH), 1e6)
    world.catch_up(seconds=0.0)

    [before], [after] = started, progress_of(world.ledger)
    assert (before.share, before.left_seconds, before.gap.rows) == (0.0, DAY, 60)
    assert after.gap.rows == 20
    assert after.left_seconds == pytest.approx(DAY - 1 - 39 * 1200)
    assert after.share == pytest.approx(1 - after.left_seconds / DAY)


def _nowhere() -> Any:
    raise AssertionError("asked")


class _Lasting:
    """A source each of whose answers takes as long as a run may."""

    def __init__(self, world: World) -> None:
        self._world = world

    def page(self, *arguments: Any) -> Any:
        self._world.clock += 15
        return self._world.source.page(*arguments)


class _LakeAway:
    def recent_events(self, *_: Any) -> list[str]:
        raise Unavailable("the lake is away")


class _Asked:
    """A lake that counts the ids that it is asked for."""

    def __init__(self, lake: Any) -> None:
        self._lake = lake
        self.recent_events = lake.recent_events
        self.asked = 0

    def known_events(self, ids: Any, *args: Any) -> set[str]:
        self.asked += len(ids)
        return self._lake.known_events(ids, *args)


class _Uncounted:
    """A source of which nobody may count what was not read yet."""

    def __init__(self, world: World) -> None:
        self.page = world.source.page
        self._count = world.source.count
        self._read = world.ledger.checkpoint(LIVE).source_time

    def count(self, after: int, until: int) -> int:
        assert until <= self._read, "new rows were counted"
        return self._count(after, until)


class _Slow:
    """A source whose answers take some seconds, in which the workers work; nobody may count it."""

    def __init__(self, world: World, seconds: float) -> None:
        self._world = world
        self._seconds = seconds

    def page(self, *args: Any) -> list[dict[str, Any]]:
        rows = self._world.source.page(*args)
        self._world.wait(self._seconds)
        self._world.ingest()
        work_off(self._world)
        return rows


class _Dying:
    """A source whose reader is killed after some pages."""

    def __init__(self, source: Any, pages: int) -> None:
        self._source = source
        self._pages = pages

    def page(self, *args: Any) -> list[dict[str, Any]]:
        if self._pages == 0:
            raise KeyboardInterrupt
        self._pages -= 1
        return self._source.page(*args)


class _Meanwhile:
    """A source during whose first answer something else happens."""

    def __init__(self, source: Any, happens: Any) -> None:
        self._source = source
        self._happens = happens

    def page(self, *args: Any) -> list[dict[str, Any]]:
        rows = self._source.page(*args)
        happens, self._happens = self._happens, lambda: None
        happens()
        return rows


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


class _Extended:
    """A ledger on which the poll extends a gap just before it is closed."""

    def __init__(self, ledger: MemoryLedger, longer: Gap) -> None:
        self._ledger = ledger
        self._longer: Gap | None = longer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def close_gap(self, cursor: str, gap: Gap, read: Checkpoint | None) -> bool:
        if self._longer:
            at = self._ledger.checkpoint(cursor)
            assert self._ledger.set_aside(cursor, at, self._longer, 1, fence=99)
            self._longer = None
        return self._ledger.close_gap(cursor, gap, read)


class _Ticking:
    """Gates whose lease is renewed after each page: then the workers get their turn."""

    def __init__(self, world: World, tick: Any) -> None:
        self._gates = world.gates
        self._tick = tick

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gates, name)

    def lock(self, *args: Any) -> Any:
        self._tick(0.1)
        return self._gates.lock(*args)
