"""The poll: what it reads, what it stores and when it stops."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from polling_world import NOON, Around, World, event_row
from protocol.stores import MemoryStore

from claimx.adapters.memory.lake import MemoryLake
from claimx.adapters.memory.ledger import MemoryLedger
from claimx.domain.errors import ErrorCategory, Permanent, Refused, TokenRejected, Unavailable
from claimx.domain.polling import LIVE
from claimx.domain.records import DeadFilter, Stage
from claimx.domain.times import from_seconds
from claimx.services.backfill import backfill
from claimx.services.first_poll import START
from claimx.services.pages import PATIENCE_SECONDS
from claimx.services.poll import Stop, poll_once
from claimx.services.poll_pages import UNCHECKED
from claimx.services.recover import FORGOT


def test_new_rows_become_page_records_and_move_the_checkpoint():
    world = World()
    for n in range(3):
        world.happened(f"e{n}", seconds_ago=100 - n)

    report = poll_once(world.runtime())

    assert (report.rows, report.fresh, report.records) == (3, 3, 1)
    assert report.stopped is Stop.DRY
    assert world.ledger.checkpoint(LIVE).source_time == from_seconds(NOON - 98)
    assert world.metrics.values["poll_rows", (LIVE,)] == 3
    assert [stage for stage, _, _ in world.hints.sent] == [Stage.INGEST]
    assert world.ingest().admitted == 3


def test_a_page_has_as_many_rows_as_the_batch_size():
    world = World(poll_batch=4)
    for n in range(10):
        world.happened(f"e{n}", seconds_ago=100 - n)

    report = poll_once(world.runtime())

    assert (report.pages, report.rows) == (3, 10)
    assert {limit for _, _, limit, _ in world.source.calls} == {4}


def test_one_ingestion_time_larger_than_a_page_is_split_into_records():
    world = World(poll_batch=4)
    world.source.add([event_row(f"e{n}") for n in range(11)], from_seconds(NOON - 60))

    report = poll_once(world.runtime())

    assert (report.pages, report.records) == (1, 3)
    assert world.ingest().admitted == 11


def test_a_page_larger_than_one_step_is_stored_in_several_and_moves_the_checkpoint_last():
    """A crash between the steps must leave the checkpoint before the whole of that time."""
    world = World(poll_batch=1)
    world.source.add([event_row(f"e{n}") for n in range(20)], from_seconds(NOON - 60))
    ledger = _FailingAfter(world.ledger, good_pages=1)

    broken = poll_once(world.runtime(ledger=ledger))
    assert broken.stopped is Stop.FAILED
    assert world.ledger.checkpoint(LIVE).source_time < from_seconds(NOON - 60)
    world.redrive()
    world.ingest()
    world.clock += world.limits.reader_lease
    world.redrive()
    world.ingest()
    poll_once(world.runtime())
    world.redrive()
    world.ingest()

    assert world.counters["event.admitted"] == 20


def test_rows_that_may_not_have_settled_are_left_for_the_next_poll():
    world = World(poll_settle=5.0)
    world.happened("old", seconds_ago=5)
    world.happened("new", seconds_ago=4)

    first = poll_once(world.runtime())
    world.ingest()
    world.clock += 10
    second = poll_once(world.runtime())

    assert (first.fresh, second.fresh) == (1, 1)


def test_the_first_poll_begins_a_span_back():
    world = World(poll_start=600.0)
    world.happened("before", seconds_ago=601)
    world.happened("after", seconds_ago=599)

    poll_once(world.runtime())
    world.ingest()

    assert world.admitted(["before", "after"]) == {"after"}


def test_of_two_first_polls_the_second_begins_where_the_first_has_noted():
    """
    One lost its lease before it noted where it began, and does so when the other has looked.

    The other would begin later, by as long as that took, and nobody read what lies between.
    """
    world = World(poll_start=600.0)
    world.happened("between", seconds_ago=605)

    def note(cursor: str) -> None:
        if cursor == START:
            world.ledger.store_page(START, None, from_seconds(NOON - 610), [], 1)

    poll_once(world.runtime("two", ledger=_BeforeStoring(world.ledger, note)))
    world.ingest()

    assert world.admitted(["between"])


def test_the_first_poll_begins_at_a_fixed_time():
    world = World(poll_start=datetime(2026, 1, 1, 6, tzinfo=UTC))
    world.happened("before", seconds_ago=6 * 3600 + 1)
    world.happened("after", seconds_ago=6 * 3600 - 1)

    poll_once(world.runtime())
    world.ingest()

    assert world.admitted(["before", "after"]) == {"after"}


def test_an_empty_source_does_not_let_the_start_slide_along_with_the_clock():
    """Nobody polled for two hours; what happened in the first of them is still read."""
    world = World(poll_start=3600.0)
    poll_once(world.runtime())
    world.clock += 7200
    world.happened("while nobody looked", seconds_ago=6000)

    report = poll_once(world.runtime())

    assert report.fresh == 1


def test_the_overlap_does_not_reach_back_before_the_first_start():
    world = World(poll_start=60.0, poll_overlap=300.0)
    world.happened("before", seconds_ago=100)
    world.happened("after", seconds_ago=30)

    poll_once(world.runtime())
    world.ingest()
    world.clock += 30
    report = poll_once(world.runtime())

    assert report.fresh == 0
    assert world.admitted(["before", "after"]) == {"after"}


def test_a_row_that_shows_late_is_found_in_the_overlap():
    world = World()
    world.happened("late", seconds_ago=50, shown_in=20)
    world.happened("on time", seconds_ago=40)
    poll_once(world.runtime())
    world.ingest()
    checkpoint = world.ledger.checkpoint(LIVE)
    world.clock += 30

    report = poll_once(world.runtime())
    world.ingest()

    assert report.fresh == 1
    assert world.admitted(["late", "on time"]) == {"late", "on time"}
    assert world.ledger.checkpoint(LIVE).source_time == checkpoint.source_time


def test_known_rows_are_not_stored_again_and_leave_the_checkpoint_alone():
    world = World()
    world.happened("e1", seconds_ago=50)
    poll_once(world.runtime())
    world.ingest()
    before = world.ledger.checkpoint(LIVE)
    world.clock += 30
    world.happened("e1", seconds_ago=80)

    report = poll_once(world.runtime())

    assert (report.rows, report.known, report.records) == (2, 2, 0)
    assert world.ledger.checkpoint(LIVE) == before
    assert world.metrics.values["duplicates", ("seen",)] == 1


def test_of_the_overlap_only_seconds_with_other_rows_than_were_read_are_read_again():
    """A busy source's overlap is a hundred thousand rows; reading it each time is all one does."""
    world = World(poll_batch=2)
    for n in range(40):
        world.happened(f"e{n}", seconds_ago=200 - n)
    world.happened("late", seconds_ago=180, shown_in=5)
    poll_once(world.runtime())
    world.ingest()
    world.clock += 30

    report = poll_once(world.runtime())
    world.ingest()
    nothing_new = poll_once(world.runtime())

    assert (report.fresh, world.admitted(["late"])) == (1, {"late"})
    assert report.rows <= 3
    assert (nothing_new.stopped, nothing_new.rows) == (Stop.DRY, 0)


def test_a_poll_that_could_not_note_what_it_read_is_read_again():
    """Whatever was lost with the note costs reading, and nothing else."""
    world = World()
    for n in range(3):
        world.happened(f"e{n}", seconds_ago=50 - n)
    poll_once(world.runtime(ledger=_NotingNothing(world.ledger)))
    world.ingest()
    world.clock += 30

    report = poll_once(world.runtime())
    after = poll_once(world.runtime())

    assert (report.rows, report.known, report.fresh) == (3, 3, 0)
    assert (after.stopped, after.rows) == (Stop.DRY, 0)


def test_a_note_of_another_life_of_the_ledger_counts_for_nothing():
    """What a poller has read of late rows is lost with an older copy; so is that it had read it."""
    world = World()
    world.happened("e1", seconds_ago=50)
    poll_once(world.runtime())
    world.ingest()
    older = world.ledger.checkpoint(LIVE)
    world.happened("e2", seconds_ago=20)
    poll_once(world.runtime())

    assert not world.ledger.note_read(LIVE, older, "{}")
    assert world.ledger.noted_read(LIVE)[1] != "{}"


def test_a_page_of_duplicates_moves_the_checkpoint_but_stores_nothing():
    world = World()
    world.happened("e1", seconds_ago=50)
    poll_once(world.runtime())
    world.ingest()
    world.clock += 30
    world.happened("e1", seconds_ago=10)

    report = poll_once(world.runtime())

    assert (report.fresh, report.records) == (0, 0)
    assert world.ledger.checkpoint(LIVE).source_time == from_seconds(world.clock - 10)


def test_a_lake_that_is_away_stops_no_poll():
    world = World()
    world.happened("e1", seconds_ago=50)
    poll_once(world.runtime())
    world.ingest()
    world.clock += 30
    world.happened("e2", seconds_ago=10)

    report = poll_once(world.runtime(make_lake=_LakeAway))

    assert (report.stopped, report.fresh, report.known) == (Stop.DRY, 1, 0)


def test_after_redis_was_lost_events_of_the_lake_are_dropped():
    """Domain page, section 5: the window is read again, and what the lake has is not done again."""
    world = World()
    for n in range(5):
        world.happened(f"e{n}", seconds_ago=50 - n)
    poll_once(world.runtime())
    world.ingest()
    world.finished("e0", "e3", at=NOON - 50)
    world.forget_redis()
    world.clock += 30

    report = poll_once(world.runtime())
    world.ingest()

    assert report.known == 2
    assert world.admitted([f"e{n}" for n in range(5)]) == {"e1", "e2", "e4"}
    assert world.metrics.values["duplicates", ("lake",)] == 2


def test_after_redis_was_lost_a_lake_that_is_away_stops_nothing():
    """They are done again, to the same rows."""
    world = World()
    world.happened("e1", seconds_ago=50)

    report = poll_once(world.runtime(make_lake=_LakeAway))

    assert report.fresh == 1


def test_of_a_healthy_pollers_new_rows_the_lake_is_not_asked():
    """A look-up reads the ids of a whole day; twice a minute that is too much for nothing."""
    world = World()
    poll_once(world.runtime())
    world.clock += 60
    world.happened("e1", seconds_ago=10)

    report = poll_once(world.runtime(make_lake=_LakeNotAsked))

    assert report.fresh == 1


def test_doubled_rows_of_one_page_are_stored_once():
    world = World()
    world.source.add([event_row("e1"), event_row("e1", project_id=8)], from_seconds(NOON - 9))

    report = poll_once(world.runtime())

    assert (report.fresh, report.known) == (1, 1)


def test_rows_that_come_again_later_in_a_page_are_known_each():
    """Most sources repeat themselves; such rows are only compared once a page has shown one."""
    world = World()
    for seconds in (9, 8, 7, 6):
        again = [event_row("e1"), event_row("e2"), event_row("e2", project_id=True)]
        world.source.add(again, from_seconds(NOON - seconds))

    report = poll_once(world.runtime())

    assert (report.fresh - report.malformed, report.known) == (2, 6)
    assert report.malformed == 4, "each with a time of its own"


def test_a_row_that_is_no_json_is_buried_alone():
    world = World()
    world.source.add([event_row("bad", x=object()), event_row("good")], from_seconds(NOON - 9))

    report = poll_once(world.runtime())
    ingested = world.ingest()

    assert report.malformed == 1
    assert (ingested.admitted, ingested.malformed) == (1, 1)
    [letter] = world.ledger.dead_letters(DeadFilter())
    assert "no JSON" in letter.failure.message
    assert "bad" in letter.data["_row"]


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


class _BeforeStoring:
    """A ledger to which something happens just before a cursor is moved."""

    def __init__(self, ledger: Any, what: Callable[[str], None]) -> None:
        self._ledger, self._what = ledger, what

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def store_page(self, cursor: str, *arguments: Any) -> Any:
        self._what(cursor)
        return self._ledger.store_page(cursor, *arguments)


def _store_of(world: World) -> MemoryStore:
    """Return what copies the world's ledger and puts the copies back."""
    store = MemoryStore(world.now)
    store.ledger = world.ledger
    return store


def having_read(name: str, seconds_ago: float) -> World:
    """Return a world with an overlap of 300 s, whose one row was read and admitted."""
    world = World(poll_overlap=300.0)
    world.happened(name, seconds_ago=seconds_ago)
    poll_once(world.runtime())
    world.ingest()
    return world


def put_back_under(world: World) -> Around:
    """
    A ledger for a poller that begins now and stands still.

    Another poller goes on until the first one asks what the ledger has seen; then a copy of now is
    put back, whose checkpoint is the one that the first has read.
    """
    store, saved = _store_of(world), []

    def go_on() -> None:
        saved.append(store.save())
        world.clock += world.limits.reader_lease + 1
        poll_once(world.runtime("other"))
        world.ingest()

    return Around(world.ledger, before=go_on, after=lambda: store.load(saved[0]))


def test_rows_left_out_on_the_word_of_a_ledger_that_was_put_back_are_read_again():
    """A malformed row is neither in the lake nor a dead letter of the older copy: only here."""
    world = World()
    world.happened("before", seconds_ago=200)
    poll_once(world.runtime())
    world.ingest()
    before = world.ledger.checkpoint(LIVE)
    world.happened("good", seconds_ago=100)
    world.source.add([event_row("bad") | {"event_type": 7}], from_seconds(NOON - 50))

    standing = poll_once(world.runtime(ledger=put_back_under(world)))
    assert (standing.stopped, standing.known) == (Stop.FAILED, 2)
    assert "no longer knows" in standing.error
    assert world.ledger.checkpoint(LIVE) == before
    poll_once(world.runtime())
    world.ingest()

    assert world.admitted(["before", "good"]) == {"before", "good"}
    assert len(world.ledger.dead_letters(DeadFilter())) == 1


def test_a_late_row_left_out_on_such_a_ledgers_word_is_read_again():
    """The checkpoint has passed it: its second must not count as read."""
    world = having_read("before", seconds_ago=100)
    world.happened("late", seconds_ago=150)

    standing = poll_once(world.runtime(ledger=put_back_under(world)))
    assert (standing.stopped, standing.fresh) == (Stop.DRY, 0)
    assert world.admitted(["late"]) == set()
    poll_once(world.runtime())
    world.ingest()

    assert world.admitted(["before", "late"]) == {"before", "late"}


def test_a_late_row_left_out_on_such_a_ledgers_word_is_no_longer_passed_by():
    """New rows may lie so far ahead that no later poll looks where it is, noted as read or not."""
    world = having_read("before", seconds_ago=1000)
    before = world.ledger.checkpoint(LIVE)
    world.happened("late", seconds_ago=1010)
    world.happened("new", seconds_ago=100)

    standing = poll_once(world.runtime(ledger=put_back_under(world)))
    assert standing.stopped is Stop.FAILED
    assert world.ledger.checkpoint(LIVE) == before
    poll_once(world.runtime())
    world.ingest()

    assert world.admitted(["late", "new"]) == {"late", "new"}


def test_a_poll_takes_no_note_of_a_later_checkpoint_than_its_own_for_what_was_read():
    """A copy that has its checkpoint, but not what the note speaks of, may be put back under it."""
    world = having_read("before", seconds_ago=100)
    world.happened("late", seconds_ago=150)
    store = _store_of(world)
    saved = store.save()

    def another_reads_on() -> None:
        world.clock += world.limits.reader_lease + 1
        assert poll_once(world.runtime("other")).fresh == 1
        world.ingest()

    source = _AtNewRows(
        world.source, world.ledger.checkpoint(LIVE).source_time, lambda: store.load(saved)
    )
    ledger = _OnceItToldTheCheckpoint(world.ledger, another_reads_on)
    poll_once(world.runtime(ledger=ledger, make_source=lambda: source))
    assert world.admitted(["late"]) == set()
    poll_once(world.runtime())
    world.ingest()

    assert world.admitted(["late"]) == {"late"}


def test_a_poll_that_reads_an_overlap_again_does_not_stop_one_that_waits_for_its_answer():
    """Queries may be slower than a lease: were the next poll to void each, none would get on."""
    world = World(poll_overlap=300.0)
    world.happened("old", seconds_ago=100)
    poll_once(world.runtime(ledger=_NotingNothing(world.ledger)))
    world.ingest()
    reached = world.ledger.checkpoint(LIVE).source_time
    world.happened("new", seconds_ago=50)

    def another() -> None:
        world.clock += world.limits.reader_lease + 1
        source = _AtNewRows(world.source, reached, _away)
        later = poll_once(world.runtime("later", make_source=lambda: source))
        assert (later.stopped, later.known) == (Stop.FAILED, 1)

    source = _AtNewRows(world.source, reached, another)
    report = poll_once(world.runtime("slow", make_source=lambda: source))

    assert (report.fresh, report.records) == (1, 1)
    assert world.ledger.checkpoint(LIVE).source_time > reached


def test_of_an_overlap_so_much_is_read_at_a_time_as_can_be_checked_in_one_step():
    """What is noted as read was left out because it is known: one step of the ledger says so."""
    world = World(poll_overlap=300.0, poll_batch=3, ids_a_step=3)
    for n in range(40):
        world.happened(f"e{n}", seconds_ago=200 - n)
    poll_once(world.runtime(ledger=_NotingNothing(world.ledger)))
    world.ingest()
    world.happened("new", seconds_ago=50)

    reports = []
    for _ in range(6):
        reports.append(poll_once(world.runtime()))
        world.ingest()

    assert reports[0].fresh == 1, "new rows do not wait for it"
    known = [report.known for report in reports]
    assert (max(known), known[-1]) == (UNCHECKED * 3, 0)
    assert sum(known) >= 40, "all of it is read in the end"


def test_a_page_with_many_known_rows_is_checked_in_several_steps():
    """One step of the ledger is to hold up nobody, and nothing is stored before all is checked."""
    world = World(poll_batch=1, ids_a_step=4)
    known = [event_row(f"e{n}") for n in range(10)]
    world.source.add(known, from_seconds(NOON - 60))
    poll_once(world.runtime())
    world.ingest()
    at, end = from_seconds(NOON - 60), from_seconds(NOON - 40)
    world.source.add([*known, *(event_row(f"f{n}") for n in range(20))], end)
    steps = _Steps(world.ledger)

    report = poll_once(world.runtime(ledger=steps))
    world.ingest()

    assert (report.known, report.fresh) == (10, 20)
    assert steps.told == [(4, 0, at), (4, 0, at), (2, 8, at), (0, 8, at), (0, 4, end)]
    assert world.counters["event.admitted"] == 30


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
    source = _Slow(world, 10.0)

    first = poll_once(world.runtime(make_source=lambda: source), seconds=25.0)
    world.ingest()
    second = poll_once(world.runtime())
    world.ingest()

    assert (first.stopped, first.fresh) == (Stop.TIME, 3)
    assert second.fresh == 2
    assert first.lag_seconds > 400
    assert world.counters["event.admitted"] == 5


def _with_an_overlap_to_read_again(rows: int) -> World:
    """A source whose overlap is full of rows that were read, and nobody has noted that."""
    world = World(poll_batch=1, poll_overlap=600.0, poll_start=500.0)
    for n in range(rows):
        world.happened(f"old{n}", seconds_ago=400 - n)
    poll_once(world.runtime(ledger=_NotingNothing(world.ledger)))
    world.ingest()
    return world


def test_an_overlap_that_takes_too_long_is_left_for_new_rows():
    """Else a busy source with slow answers would never be read beyond its overlap."""
    world = _with_an_overlap_to_read_again(30)
    world.happened("new", seconds_ago=100)
    source = _Slow(world, 5.0)

    report = poll_once(world.runtime(make_source=lambda: source), seconds=25.0)

    assert report.fresh == 1
    assert 1 < report.rows < 30


class _SlowLake(MemoryLake):
    """A lake whose look-ups take *seconds*, by default longer than a poll may."""

    def __init__(self, world: World, seconds: float = 30.0) -> None:
        super().__init__()
        self._world = world
        self._seconds = seconds

    def recent_events(self, since, until, limit):
        self._world.clock += self._seconds
        return super().recent_events(since, until, limit)


def test_a_poll_reads_new_rows_however_slow_its_look_ups_are():
    """With a lake slower than a poll's time, each poll ended before its first page, for ever."""
    world = World(poll_batch=2, poll_overlap=600.0, poll_start=500.0)
    for n in range(6):
        world.happened(f"old{n}", seconds_ago=400 - n)
    poll_once(world.runtime())
    world.ingest()
    world.happened("new", seconds_ago=100)
    lake = _SlowLake(world)

    report = poll_once(world.runtime(make_lake=lambda: lake), seconds=25.0)

    assert report.fresh == 1


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
    lake, source = _SlowLake(world, seconds=10.0), _Slow(world, 1.0)
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


def test_what_is_left_of_an_overlap_is_read_by_the_next_polls():
    """After a loss all of it is to be read; each poll goes on where the last one left it."""
    world = _with_an_overlap_to_read_again(12)
    source = _Slow(world, 5.0)

    read = [
        poll_once(world.runtime(make_source=lambda: source), seconds=25.0).rows for _ in range(8)
    ]

    assert 12 <= sum(read) <= 12 + 4, "a second that was not finished is begun again"
    assert read[-1] == 0


def test_a_late_row_in_the_overlap_is_found_however_slow_the_look_ups_are():
    """With a slow lake the overlap was left in every poll, and a late row lost (chaos, seed 7)."""
    world = World(poll_batch=2, poll_overlap=600.0, poll_start=500.0)
    for n in range(3):
        world.happened(f"old{n}", seconds_ago=100 - n)
    poll_once(world.runtime())
    world.ingest()
    world.happened("late", seconds_ago=150)
    lake = _SlowLake(world)

    report = poll_once(world.runtime(make_lake=lambda: lake), seconds=1.0)

    assert report.fresh == 1


@pytest.mark.parametrize("off", [-600.0, 600.0])
def test_a_poller_with_a_wrong_clock_reads_and_notes_by_the_ledgers(off):
    """A window that ended in the future would take what nobody has seen yet for read."""
    world = World(poll_settle=5.0, poll_start=3600.0)
    world.happened("settled", seconds_ago=6)
    world.happened("young", seconds_ago=4)

    report = poll_once(world.runtime(off=off))

    assert report.fresh == 1
    assert report.window.until == from_seconds(NOON - 5)
    assert world.ledger.checkpoint(f"{LIVE}:born").source_time == from_seconds(NOON)


@pytest.mark.parametrize(
    ("error", "category"),
    [
        (Unavailable("Kusto cannot be reached"), ErrorCategory.TRANSIENT),
        (TokenRejected("no token"), ErrorCategory.AUTH),
        (Refused("no such table"), ErrorCategory.PERMANENT),
    ],
)
def test_a_failing_source_ends_the_poll_and_the_next_one_tries_again(error, category):
    world = World()
    world.happened("e1", seconds_ago=50)
    world.source.failures.append(error)

    first = poll_once(world.runtime())
    second = poll_once(world.runtime("two"))

    assert (first.stopped, first.category, first.error) == (Stop.FAILED, category, str(error))
    assert second.fresh == 1


def test_a_source_that_was_never_set_up_is_told_in_the_report():
    world = World()

    def nowhere() -> None:
        raise Permanent("EVENTHOUSE_CLUSTER_URL must be set")

    report = poll_once(world.runtime(make_source=nowhere))

    assert (report.stopped, report.error) == (Stop.FAILED, "EVENTHOUSE_CLUSTER_URL must be set")
    assert world.metrics.values["failed", ("poll", "PERMANENT")] == 1


def test_a_ledger_that_is_away_ends_the_poll():
    world = World()

    report = poll_once(world.runtime(ledger=_FailingAfter(world.ledger, good_pages=0)))

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

    assert poll_once(world.runtime(make_source=_away)).stopped is Stop.FAILED

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


class _FailingAfter:
    """A ledger that goes away after it stored some pages."""

    def __init__(self, ledger: MemoryLedger, good_pages: int) -> None:
        self._ledger = ledger
        self._left = good_pages

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def store_page(self, cursor: str, expected: Any, move_to: Any, pages: Any, *more: Any):
        if pages or self._left == 0:
            if self._left == 0:
                raise Unavailable("Redis is away")
            self._left -= 1
        return self._ledger.store_page(cursor, expected, move_to, pages, *more)


class _Steps:
    """A ledger that notes what each step of the live poll brought: ids, pages, and where to."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger
        self.told: list[tuple[int, int, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def store_page(self, cursor: str, expected: Any, move_to: Any, pages: Any, *more: Any):
        if cursor == LIVE:
            self.told.append((len(more[2]), len(pages), move_to))
        return self._ledger.store_page(cursor, expected, move_to, pages, *more)


class _OnceItToldTheCheckpoint:
    """A ledger to which something happens just after it told a poll the live checkpoint."""

    def __init__(self, ledger: MemoryLedger, happens: Any) -> None:
        self._ledger = ledger
        self._happens = happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def checkpoint(self, cursor: str) -> Any:
        return self._told(cursor, self._ledger.checkpoint(cursor))

    def noted_read(self, cursor: str) -> Any:
        return self._told(cursor, self._ledger.noted_read(cursor))

    def _told(self, cursor: str, found: Any) -> Any:
        if cursor == LIVE:
            happens, self._happens = self._happens, lambda: None
            happens()
        return found


class _AtNewRows:
    """A source to which something happens before it answers with rows after a time."""

    def __init__(self, source: Any, reached: int, happens: Any) -> None:
        self._source = source
        self._reached = reached
        self._happens = happens

    def count(self, *args: Any) -> int:
        return self._source.count(*args)

    def page(self, after: int, *more: Any) -> list[dict[str, Any]]:
        if after >= self._reached:
            happens, self._happens = self._happens, lambda: None
            happens()
        return self._source.page(after, *more)


def _away() -> None:
    raise Unavailable("the source is away")


class _NotingNothing:
    """A ledger that dies before it is told what was read."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def note_read(self, *_: Any) -> bool:
        return False


class _LakeAway:
    def known_events(self, *_: Any) -> set[str]:
        raise Unavailable("the lake is away")

    def recent_events(self, *_: Any) -> list[str]:
        raise Unavailable("the lake is away")


class _LakeNotAsked:
    def known_events(self, *_: Any) -> set[str]:
        raise AssertionError("asked")


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


class _Slow:
    """A source whose answers take some seconds."""

    def __init__(self, world: World, seconds: float) -> None:
        self._world = world
        self._seconds = seconds

    def count(self, *args: Any) -> int:
        return self._world.source.count(*args)

    def page(self, *args: Any) -> list[dict[str, Any]]:
        rows = self._world.source.page(*args)
        self._world.clock += self._seconds
        return rows


def _takes_over(world: World, other: Any) -> None:
    world.clock += world.limits.reader_lease + 1
    assert poll_once(other).fresh == 1


def test_of_two_rows_with_one_id_the_first_stands_whatever_page_they_are_on():
    """Pages are admitted side by side, so the later row must not even be stored."""
    world = World(poll_batch=1)
    world.source.add([event_row("e1")], from_seconds(NOON - 60))
    world.source.add([event_row("e1", event_type="PROJECT_NOTE_ADDED")], from_seconds(NOON - 50))

    report = poll_once(world.runtime())

    assert (report.pages, report.fresh, report.known) == (2, 1, 1)


def test_a_poll_waits_for_the_pages_of_the_last_one():
    """What they hold is not seen yet: it would be stored again, and could be overtaken."""
    world = World()
    world.source.add([event_row("e1")], from_seconds(NOON - 60))
    poll_once(world.runtime())

    waiting = poll_once(world.runtime())
    world.ingest()
    after = poll_once(world.runtime())

    assert waiting.stopped is Stop.INGEST
    assert after.stopped is Stop.DRY


def test_a_poll_with_patience_goes_on_once_the_pages_are_admitted():
    """Pages stored just before a tick would cost all of the time until the next one."""
    world = World()
    world.source.add([event_row("e1")], from_seconds(NOON - 60))
    poll_once(world.runtime())
    world.source.add([event_row("e2")], from_seconds(NOON - 50))
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            world.ingest()

    report = poll_once(world.runtime(), sleep=sleep)

    assert (report.stopped, report.fresh, len(pauses)) == (Stop.DRY, 1, 3)


def test_the_patience_of_a_poll_ends_long_before_its_lease():
    """Workers may all be down; and a poller without its lease would read beside another."""
    world = World()
    world.source.add([event_row("e1")], from_seconds(NOON - 60))
    poll_once(world.runtime())
    pauses: list[float] = []

    report = poll_once(world.runtime(), sleep=pauses.append)

    assert report.stopped is Stop.INGEST
    assert 0 < sum(pauses) < world.limits.reader_lease / 2


def test_a_poll_waits_for_young_pages_though_others_have_lain_for_long():
    """Old pages come back with an older copy of Redis; a later row must not overtake even then."""
    world = World()
    world.happened("e1", seconds_ago=60)
    poll_once(world.runtime())
    world.wait(PATIENCE_SECONDS + 1)
    world.happened("e2", seconds_ago=10)

    beside_an_old_page = poll_once(world.runtime())
    beside_a_young_page = poll_once(world.runtime())
    world.wait(PATIENCE_SECONDS)
    beside_old_pages = poll_once(world.runtime())

    assert beside_an_old_page.stopped is Stop.DRY
    assert beside_a_young_page.stopped is Stop.INGEST
    assert beside_old_pages.stopped is Stop.DRY


def test_pages_of_another_cursor_hold_up_no_poll():
    """A backfill keeps some pages waiting all the time; live events would never be read."""
    world = World(poll_settle=0.0)
    world.happened("old", seconds_ago=9000)
    backfill(
        world.runtime("backfill"),
        from_seconds(NOON - 10_000),
        from_seconds(NOON - 8000),
        sleep=lambda _: None,
    )
    world.happened("new", seconds_ago=10)

    report = poll_once(world.runtime())

    assert world.pages == 2
    assert (report.stopped, report.fresh) == (Stop.DRY, 1)


def test_a_source_idle_for_longer_than_ids_are_remembered_is_no_sign_of_a_lost_ledger():
    """What it may forget by itself would else be looked for in the lake every two minutes."""
    world = World(dedup_seconds=7200.0)
    world.happened("e1", seconds_ago=50)
    poll_once(world.runtime())
    world.ingest()
    world.finished("e1", at=NOON - 50)
    for _ in range(3):
        world.clock += 3 * 3600

        poll_once(world.runtime())

        assert world.ledger.checkpoint(FORGOT) is None


def _no_sleep(_seconds: float) -> None:
    raise AssertionError("slept")
