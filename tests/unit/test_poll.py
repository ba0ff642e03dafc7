"""The poll: what it reads, what it stores and when it stops."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from poll_trouble import FailingAfter
from polling_world import NOON, World, event_row

from claimx.adapters.memory.ledger import MemoryLedger
from claimx.domain.errors import ErrorCategory, Refused, TokenRejected, Unavailable
from claimx.domain.polling import LIVE
from claimx.domain.records import DeadFilter, Stage
from claimx.domain.times import from_seconds
from claimx.services.first_poll import START
from claimx.services.poll import poll_once
from claimx.services.poll_report import Stop


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
    ledger = FailingAfter(world.ledger, good_pages=1)

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


def test_a_ledger_whose_clock_is_fast_lets_the_first_poll_begin_no_later():
    """What lies before the start is never read."""
    world = World(poll_start=3600.0)
    world.ledger_ahead = 4 * 3600.0
    world.happened("of the span", seconds_ago=1800)
    world.happened("older", seconds_ago=3700)

    poll_once(world.runtime())
    world.ingest()

    assert world.admitted(["of the span", "older"]) == {"of the span"}


def test_a_poller_whose_clock_is_far_behind_does_not_let_it_begin_years_back():
    world = World(poll_start=3600.0)
    world.happened("older", seconds_ago=7 * 86_400.0)

    poll_once(world.runtime(off=-30 * 86_400.0))

    assert world.ledger.checkpoint(START).source_time == from_seconds(NOON - 3600)


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
    rows = [event_row("bad", media_ids=object()), event_row("good")]
    world.source.add(rows, from_seconds(NOON - 9))

    report = poll_once(world.runtime())
    ingested = world.ingest()

    assert report.malformed == 1
    assert (ingested.admitted, ingested.malformed) == (1, 1)
    [letter] = world.ledger.dead_letters(DeadFilter())
    assert "no JSON" in letter.failure.message
    assert "bad" in letter.data["_row"]


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


class _BeforeStoring:
    """A ledger to which something happens just before a cursor is moved."""

    def __init__(self, ledger: Any, what: Callable[[str], None]) -> None:
        self._ledger, self._what = ledger, what

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def store_page(self, cursor: str, *arguments: Any) -> Any:
        self._what(cursor)
        return self._ledger.store_page(cursor, *arguments)
