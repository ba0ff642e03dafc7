"""The page that is read ahead: to whom it is given, and what may never happen beside it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from claimx.adapters.memory.source import MemorySource
from claimx.adapters.read_ahead import FRESH_SECONDS, ReadAhead
from claimx.domain.errors import Unavailable

UNTIL = 1_000_000
PATIENCE = 10.0


class Source(MemorySource):
    """
    The source in memory, as one that is not for several threads: who is in it is noted.

    While *held* is cleared, calls wait. The call with the number *failing* fails.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.held = threading.Event()
        self.held.set()
        self.threads: list[str] = []
        self.side_by_side = False
        self.failing = 0
        self._turn = threading.Lock()
        for number in range(1, rows + 1):
            self.add([{"event_id": f"e{number}"}], number)

    def page(
        self, after: int, until: int, limit: int, exclude: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        return self._alone(lambda: super(Source, self).page(after, until, limit, exclude))

    def count(self, after: int, until: int) -> int:
        return self._alone(lambda: super(Source, self).count(after, until))

    def oldest(self, until: int) -> int | None:
        return self._alone(lambda: super(Source, self).oldest(until))

    def close(self) -> None:
        self._alone(lambda: None)

    def after_fork(self) -> None:
        """Forget who was in it in the parent."""
        self._turn = threading.Lock()
        self.held = threading.Event()
        self.held.set()

    def _alone(self, work: Any) -> Any:
        if not self._turn.acquire(blocking=False):
            self.side_by_side = True
            raise AssertionError("two threads at a time")
        try:
            self.threads.append(threading.current_thread().name)
            if not self.held.wait(PATIENCE):
                raise AssertionError("held for too long")
            if len(self.threads) == self.failing:
                raise Unavailable("Kusto is away")
            return work()
        finally:
            self._turn.release()


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["event_id"] for row in rows]


def until_asked(source: Source, calls: int) -> None:
    """Wait until a thread is in the source for so many pages."""
    deadline = time.monotonic() + PATIENCE
    while len(source.threads) < calls:
        assert time.monotonic() < deadline, f"{len(source.threads)} calls"
        time.sleep(0.001)


def test_the_next_page_is_read_while_the_last_one_is_worked_on():
    source = Source(rows=6)
    ahead = ReadAhead(source)

    first = ahead.page(0, UNTIL, 3)
    until_asked(source, 2)  # before anybody asks for it
    second = ahead.page(3, UNTIL, 3)

    assert (ids(first), ids(second)) == (["e1", "e2", "e3"], ["e4", "e5", "e6"])
    assert source.calls[:2] == [(0, UNTIL, 3, ()), (3, UNTIL, 3, ())]
    assert source.threads[:2] == ["MainThread", "read-ahead"]


def test_every_row_comes_once_however_many_pages_there_are():
    source = Source(rows=100)
    ahead = ReadAhead(source)
    found: list[str] = []
    at = 0

    while rows := ahead.page(at, UNTIL, 7):
        found += ids(rows)
        at = rows[-1]["_ingestion_time"]

    assert found == [f"e{number}" for number in range(1, 101)]
    assert len(source.calls) == 16, "each page is asked for once"


@pytest.mark.parametrize("other", [(2, UNTIL, 3), (3, UNTIL - 1, 3), (3, UNTIL, 2)])
def test_who_asks_for_another_page_gets_that_page(other):
    """A new poll has another window: rows before its end have shown up since."""
    source = Source(rows=9)
    ahead = ReadAhead(source)
    ahead.page(0, UNTIL, 3)
    until_asked(source, 2)

    ahead.page(*other)

    assert source.calls[2] == (*other, ())


def test_a_page_with_excluded_ids_is_read_by_itself():
    source = Source(rows=9)
    ahead = ReadAhead(source)
    ahead.page(0, UNTIL, 3)
    until_asked(source, 2)

    rows = ahead.page(3, UNTIL, 3, ["e4"])

    assert ids(rows) == ["e5", "e6", "e7"]
    assert len(source.calls) == 3, "and none is read ahead behind it"


def test_what_was_read_ten_seconds_ago_is_read_again():
    """A catch-up may wait a minute between two pages."""
    source = Source(rows=9)
    clock = [0.0]
    ahead = ReadAhead(source, now=lambda: clock[0])
    ahead.page(0, UNTIL, 3)
    until_asked(source, 2)
    clock[0] += FRESH_SECONDS

    rows = ahead.page(3, UNTIL, 3)

    assert ids(rows) == ["e4", "e5", "e6"]
    assert source.calls[:3] == [(0, UNTIL, 3, ()), (3, UNTIL, 3, ()), (3, UNTIL, 3, ())]


def test_nothing_is_read_behind_a_page_that_is_not_half_full():
    """A poll of an idle source would ask twice each time."""
    source = Source(rows=1)
    ahead = ReadAhead(source)

    ahead.page(0, UNTIL, 3)
    ahead.close()

    assert len(source.calls) == 1


def test_nothing_is_read_behind_the_end_of_the_window():
    source = Source(rows=3)
    ahead = ReadAhead(source)

    ahead.page(0, 3, 3)
    ahead.close()

    assert len(source.calls) == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda ahead: ahead.page(0, UNTIL, 3),
        lambda ahead: ahead.count(0, UNTIL),
        lambda ahead: ahead.nameless(0, UNTIL, 3),
        lambda ahead: ahead.having(["e1"]),
        lambda ahead: ahead.oldest(UNTIL),
        lambda ahead: ahead.close(),
    ],
    ids=["page", "count", "nameless", "having", "oldest", "close"],
)
def test_the_source_is_never_called_by_two_threads_at_a_time(call):
    """Kusto's client and its connections are not for several threads."""
    source = Source(rows=9)
    ahead = ReadAhead(source)
    ahead.page(0, UNTIL, 3)
    source.held.clear()
    ahead.page(3, UNTIL, 3)  # begins a third page, which hangs
    until_asked(source, 3)
    threading.Timer(0.05, source.held.set).start()

    call(ahead)

    assert not source.side_by_side
    assert source.threads[2] == "read-ahead"


def test_a_failure_is_raised_where_the_page_is_asked_for_and_then_it_is_asked_anew():
    """Swallowed, it would be a page without rows: the end of the window."""
    source = Source(rows=6)
    source.failing = 2
    ahead = ReadAhead(source)
    ahead.page(0, UNTIL, 3)

    with pytest.raises(Unavailable):
        ahead.page(3, UNTIL, 3)

    assert ids(ahead.page(3, UNTIL, 3)) == ["e4", "e5", "e6"]


def test_a_forked_process_does_not_wait_for_its_parents_thread():
    """The worker forks its children; the thread is not among what they inherit."""
    source = Source(rows=6)
    ahead = ReadAhead(source)
    ahead.page(0, UNTIL, 3)
    until_asked(source, 2)
    source.held.clear()
    ahead.page(3, UNTIL, 3)  # its thread, for a third page, hangs

    child = os.fork()
    if child == 0:  # pragma: no cover - in another process
        try:
            source.after_fork()
            rows = ahead.page(5, UNTIL, 3)
            os._exit(0 if ids(rows) == ["e6"] else 1)
        finally:
            os._exit(2)
    source.held.set()
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
