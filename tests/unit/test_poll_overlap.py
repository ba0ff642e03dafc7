"""What a poll reads again: seconds before its checkpoint in which rows have shown late."""

from __future__ import annotations

from typing import Any

import pytest
from poll_trouble import AtNewRows, SlowLake, SlowSource, source_away
from polling_world import NOON, World

from claimx.adapters.memory.ledger import MemoryLedger
from claimx.domain.polling import LIVE
from claimx.domain.times import from_seconds
from claimx.services.poll import poll_once
from claimx.services.poll_pages import UNCHECKED
from claimx.services.poll_report import Stop


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
        source = AtNewRows(world.source, reached, source_away)
        later = poll_once(world.runtime("later", make_source=lambda: source))
        assert (later.stopped, later.known) == (Stop.FAILED, 1)

    source = AtNewRows(world.source, reached, another)
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
    source = SlowSource(world, 5.0)

    report = poll_once(world.runtime(make_source=lambda: source), seconds=25.0)

    assert report.fresh == 1
    assert 1 < report.rows < 30


def test_a_poll_reads_new_rows_however_slow_its_look_ups_are():
    """With a lake slower than a poll's time, each poll ended before its first page, for ever."""
    world = World(poll_batch=2, poll_overlap=600.0, poll_start=500.0)
    for n in range(6):
        world.happened(f"old{n}", seconds_ago=400 - n)
    poll_once(world.runtime())
    world.ingest()
    world.happened("new", seconds_ago=100)
    lake = SlowLake(world)

    report = poll_once(world.runtime(make_lake=lambda: lake), seconds=25.0)

    assert report.fresh == 1


def test_what_is_left_of_an_overlap_is_read_by_the_next_polls():
    """After a loss all of it is to be read; each poll goes on where the last one left it."""
    world = _with_an_overlap_to_read_again(12)
    source = SlowSource(world, 5.0)

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
    lake = SlowLake(world)

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


class _NotingNothing:
    """A ledger that dies before it is told what was read."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def note_read(self, *_: Any) -> bool:
        return False
