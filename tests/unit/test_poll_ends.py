"""Why a poll ends, and what stands then: time, pressure, failures, another poller."""

from __future__ import annotations

from typing import Any

import pytest
from poll_trouble import FailingAfter, SlowLake, SlowSource, having_read, source_away
from polling_world import Around, World, event_row

from claimx.domain.errors import ErrorCategory, Permanent
from claimx.domain.polling import LIVE
from claimx.domain.times import from_seconds
from claimx.services.poll import poll_once
from claimx.services.poll_report import Stop


def test_only_one_poller_works_at_a_time():
    world = World()
    world.happened("e1", seconds_ago=50)
    world.gates.lock(f"poll:{LIVE}", "another", 30.0)

    report = poll_once(world.runtime())

    assert report.stopped is Stop.BUSY
    assert world.source.calls == []


def test_a_poll_whose_lease_cannot_be_asked_for_ends_at_once_and_the_next_one_reads():
    """Redis is away: nobody else is at work, and asking it for the lag would take minutes."""
    world = World()
    world.happened("e1", seconds_ago=50)
    world.gates.away = True

    report = poll_once(world.runtime(ledger=_Untouched()), sleep=_no_sleep)

    assert (report.stopped, report.category) == (Stop.FAILED, ErrorCategory.TRANSIENT)
    assert world.source.calls == []
    world.gates.away = False
    assert poll_once(world.runtime()).fresh == 1


def test_a_poll_that_cannot_keep_its_lease_ends_and_what_it_stored_stays():
    world = World(poll_batch=1)
    for n in range(3):
        world.happened(f"e{n}", seconds_ago=50 - n)

    def away() -> None:
        world.gates.away = True

    failed = poll_once(world.runtime(ledger=Around(world.ledger, after=away)), sleep=_no_sleep)
    world.gates.away = False
    world.ingest()
    world.clock += world.limits.reader_lease + 1  # it could not give it back
    done = poll_once(world.runtime("other"))
    world.ingest()

    assert (failed.stopped, failed.pages) == (Stop.FAILED, 1)
    assert done.stopped is Stop.DRY
    assert world.counters["event.admitted"] == 3


def test_a_poll_gives_its_lease_back():
    world = World()

    poll_once(world.runtime("one"))

    assert poll_once(world.runtime("two")).stopped is Stop.DRY


def test_a_poller_that_was_overtaken_stores_nothing():
    """It lost its lease while it read; the other one has stored the same page by now."""
    world = World()
    world.happened("e1", seconds_ago=50)
    other = world.runtime("other")
    source = _Meanwhile(world.source, lambda: _takes_over(world, other))

    report = poll_once(world.runtime("slow", make_source=lambda: source))
    world.ingest()

    assert report.stopped is Stop.SUPERSEDED
    assert report.records == 0
    assert world.counters["event.admitted"] == 1


def test_back_pressure_stops_the_poll_before_it_reads():
    world = World(max_in_flight=2)
    for n in range(3):
        world.happened(f"e{n}", seconds_ago=50 - n)
    poll_once(world.runtime())
    world.ingest()
    calls = len(world.source.calls)
    world.happened("e9", seconds_ago=10)

    report = poll_once(world.runtime())

    assert report.stopped is Stop.PRESSURE
    assert len(world.source.calls) == calls


def test_rows_that_nobody_ingests_are_back_pressure_too():
    """With every worker down the poller must not fill Redis with pages."""
    world = World(max_in_flight=25, poll_batch=10)
    for n in range(100):
        world.happened(f"e{n}", seconds_ago=900 - n)

    report = poll_once(world.runtime())

    assert report.stopped is Stop.PRESSURE
    assert report.fresh == 30


def test_a_poll_ends_when_its_time_is_up_and_the_next_goes_on():
    world = World(poll_batch=1)
    for n in range(5):
        world.happened(f"e{n}", seconds_ago=500 - n)
    source = SlowSource(world, 10.0)

    first = poll_once(world.runtime(make_source=lambda: source), seconds=25.0)
    world.ingest()
    second = poll_once(world.runtime())
    world.ingest()

    assert (first.stopped, first.fresh) == (Stop.TIME, 3)
    assert second.fresh == 2
    assert first.lag_seconds > 400
    assert world.counters["event.admitted"] == 5


def test_what_look_ups_and_patience_take_is_of_a_polls_time_unless_they_leave_too_little():
    """A poll that outlasts its interval meets the next one, which ends at once: half the time."""
    world = World(poll_batch=1, poll_overlap=600.0, poll_start=500.0)
    world.happened("old", seconds_ago=400)
    poll_once(world.runtime())
    world.ingest()
    world.wait(400)
    world.happened("young", seconds_ago=350)
    poll_once(world.runtime())  # and its page is not admitted yet
    for n in range(100):  # younger than the ledger, so the lake is not asked about them
        world.happened(f"new{n}", seconds_ago=300 - n)
    lake, source = SlowLake(world, seconds=10.0), SlowSource(world, 1.0)
    begun = world.clock

    def sleep(seconds: float) -> None:  # for the first page to be admitted
        world.clock += seconds
        if world.clock - begun > 1.5:
            world.ingest()

    report = poll_once(
        world.runtime(make_lake=lambda: lake, make_source=lambda: source),
        seconds=25.0,
        sleep=sleep,
    )

    assert report.stopped is Stop.TIME
    assert world.counters["event.admitted"] == 2
    assert 25.0 <= world.clock - begun <= 27.0


def test_a_source_that_was_never_set_up_is_told_in_the_report():
    world = World()

    def nowhere() -> None:
        raise Permanent("EVENTHOUSE_CLUSTER_URL must be set")

    report = poll_once(world.runtime(make_source=nowhere))

    assert (report.stopped, report.error) == (Stop.FAILED, "EVENTHOUSE_CLUSTER_URL must be set")
    assert world.metrics.values["failed", ("poll", "PERMANENT")] == 1


def test_a_ledger_that_is_away_ends_the_poll():
    world = World()

    report = poll_once(world.runtime(ledger=FailingAfter(world.ledger, good_pages=0)))

    assert report.stopped is Stop.FAILED


def test_the_lag_of_a_dry_source_is_the_settling_time():
    world = World(poll_settle=5.0)
    world.happened("e1", seconds_ago=500)

    report = poll_once(world.runtime())

    assert report.lag_seconds == pytest.approx(5.0)
    assert world.metrics.values["poll_lag_seconds", (LIVE,)] == pytest.approx(5.0)


def test_the_lag_is_told_while_polls_fail():
    """The gauge kept its last good value, and the alert on it never fired."""
    world = having_read("before", seconds_ago=100)
    read = world.metrics.values["poll_until_seconds", ()]
    world.clock += 1000

    assert poll_once(world.runtime(make_source=source_away)).stopped is Stop.FAILED

    assert read == pytest.approx(world.clock - 1005)
    assert world.metrics.values["poll_until_seconds", ()] == read
    assert world.metrics.values["poll_lag_seconds", (LIVE,)] == pytest.approx(1005)


def test_a_dry_run_reads_and_changes_nothing():
    world = World()
    world.happened("e1", seconds_ago=50)
    world.gates.lock(f"poll:{LIVE}", "the live one", 30.0)

    report = poll_once(world.runtime(), dry_run=True)

    assert (report.rows, report.fresh, report.records) == (1, 1, 0)
    assert world.ledger.checkpoint(LIVE) is None
    assert world.hints.sent == []
    assert world.counters == {}


@pytest.mark.parametrize("behind", [0.0, 90_000.0], ids=["a few rows", "a gap"])
def test_a_dry_run_beside_a_live_poll_leaves_each_note_of_it_as_it_was(behind):
    """It reads rows that nobody stores: noted as read, they would be passed over."""
    world = having_read("before", seconds_ago=100)
    world.finished("forgotten")
    world.clock += 100 + behind
    world.source.add([event_row(f"e{n}") for n in range(300)], from_seconds(world.clock - 90))
    world.happened("forgotten", seconds_ago=50)
    world.happened("late", seconds_ago=150)

    report = poll_once(world.runtime(ledger=_OnlyRead(world.ledger)), dry_run=True)

    assert report.error == ""
    assert report.fresh >= 300


class _OnlyRead:
    """A ledger that nobody may change."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        reads = {"checkpoint", "noted_read", "gaps", "now", "seen", "active", "waiting_pages"}
        assert name in reads, name
        return getattr(self._ledger, name)


class _Untouched:
    """A ledger that nobody asks."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


class _Meanwhile:
    """A source during whose first answer something else happens."""

    def __init__(self, source: Any, happens: Any) -> None:
        self._source = source
        self._happens = happens

    def count(self, *args: Any) -> int:
        return self._source.count(*args)

    def page(self, *args: Any) -> list[dict[str, Any]]:
        rows = self._source.page(*args)
        happens, self._happens = self._happens, lambda: None
        happens()
        return rows


def _takes_over(world: World, other: Any) -> None:
    world.clock += world.limits.reader_lease + 1
    assert poll_once(other).fresh == 1


def _no_sleep(_seconds: float) -> None:
    raise AssertionError("slept")
