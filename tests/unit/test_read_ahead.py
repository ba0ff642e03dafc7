"""The page that is read ahead: to whom it is given, and what may never happen beside it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
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

    While *held* is cleared, calls wait. The call with the number *failing* fails. Each takes
    *takes* seconds of *clock*.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.held = threading.Event()
        self.held.set()
        self.threads: list[str] = []
        self.side_by_side = False
        self.failing = 0
        self.calls_begun = self.calls_done = 0
        self.clock = self.takes = 0.0
        self._turn = threading.Lock()
        for number in range(1, rows + 1):
            self.add([{"event_id": f"e{number}"}], number)

    def page(
        self, after: int, until: int, limit: int, exclude: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        return self._alone(lambda: super(Source, self).page(after, until, limit, exclude))

    def count(self, after: int, until: int) -> int:
        return self._alone(lambda: super(Source, self).count(after, until))

    def nameless(self, after: int, until: int, limit: int) -> list[dict[str, Any]]:
        return self._alone(lambda: super(Source, self).nameless(after, until, limit))

    def having(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        return self._alone(lambda: super(Source, self).having(ids))

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
            self.calls_begun += 1
            if not self.held.wait(PATIENCE):
                raise AssertionError("held for too long")
            if len(self.threads) == self.failing:
                raise Unavailable("Kusto is away")
            self.clock += self.takes
            return work()
        finally:
            self._turn.release()
            self.calls_done += 1


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["event_id"] for row in rows]


def until_done(source: Source, calls: int) -> None:
    """Wait until so many calls of the source have ended."""
    _until(lambda: source.calls_done >= calls)


def until_begun(source: Source, calls: int) -> None:
    """Wait until so many calls of the source have begun."""
    _until(lambda: source.calls_begun >= calls)


def _until(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_the_next_page_is_read_while_the_last_one_is_worked_on():
    source = Source(rows=6)
    ahead = ReadAhead(lambda: source, PATIENCE)

    first = ahead.page(0, UNTIL, 3)
    until_done(source, 2)  # before anybody asks for it
    second = ahead.page(3, UNTIL, 3)

    assert (ids(first), ids(second)) == (["e1", "e2", "e3"], ["e4", "e5", "e6"])
    assert source.calls[:2] == [(0, UNTIL, 3, ()), (3, UNTIL, 3, ())]
    assert source.threads[:2] == ["MainThread", "read-ahead"]


def test_every_row_comes_once_however_many_pages_there_are():
    source = Source(rows=100)
    ahead = ReadAhead(lambda: source, PATIENCE)
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
    ahead = ReadAhead(lambda: source, PATIENCE)
    ahead.page(0, UNTIL, 3)
    until_done(source, 2)

    ahead.page(*other)

    assert source.calls[2] == (*other, ())


def test_a_page_with_excluded_ids_is_read_by_itself():
    source = Source(rows=9)
    ahead = ReadAhead(lambda: source, PATIENCE)
    ahead.page(0, UNTIL, 3)
    until_done(source, 2)

    rows = ahead.page(3, UNTIL, 3, ["e4"])

    assert ids(rows) == ["e5", "e6", "e7"]
    assert len(source.calls) == 3, "and none is read ahead behind it"


def test_what_was_read_ten_seconds_ago_is_read_again():
    """A catch-up may wait a minute between two pages."""
    source = Source(rows=9)
    ahead = ReadAhead(lambda: source, PATIENCE, now=lambda: source.clock)
    ahead.page(0, UNTIL, 3)
    until_done(source, 2)
    _until(lambda: not [one for one in threading.enumerate() if one.name == "read-ahead"])
    source.clock += FRESH_SECONDS

    rows = ahead.page(3, UNTIL, 3)

    assert ids(rows) == ["e4", "e5", "e6"]
    assert source.calls[:3] == [(0, UNTIL, 3, ()), (3, UNTIL, 3, ()), (3, UNTIL, 3, ())]


def test_a_page_that_is_waited_for_is_taken_however_long_it_took():
    """With queries of twelve seconds each page was read twice."""
    source = Source(rows=21)
    source.takes = FRESH_SECONDS + 2
    ahead = ReadAhead(lambda: source, PATIENCE, now=lambda: source.clock)
    at = 0
    while rows := ahead.page(at, UNTIL, 3):
        source.held.clear()
        threading.Timer(0.01, source.held.set).start()
        at = rows[-1]["_ingestion_time"]
        if at < 21:
            until_begun(source, at // 3 + 1)

    assert len(source.calls) == 8, "seven pages and the end"


def test_who_pauses_between_pages_has_none_of_them_read_twice():
    """A backfill that goes easy on the source asked for each page twice."""
    source = Source(rows=30)
    ahead = ReadAhead(lambda: source, PATIENCE, now=lambda: source.clock)
    at = pages = 0

    while rows := ahead.page(at, UNTIL, 3):
        until_done(source, len(source.calls))
        source.clock += FRESH_SECONDS + 1
        at, pages = rows[-1]["_ingestion_time"], pages + 1

    assert len(source.calls) <= pages + 2, "but for the first one"


def test_two_pages_asked_for_one_after_the_other_and_pages_are_read_ahead_again():
    source = Source(rows=30)
    ahead = ReadAhead(lambda: source, PATIENCE, now=lambda: source.clock)
    ahead.page(0, UNTIL, 3)
    ahead.page(0, UNTIL - 1, 3)  # the page behind the first one was not wanted
    ahead.close()
    assert len(source.calls) == 3

    ahead.page(3, UNTIL - 1, 3)
    ahead.close()

    assert source.calls[3:] == [(3, UNTIL - 1, 3, ()), (6, UNTIL - 1, 3, ())]


def test_a_page_is_given_though_no_thread_can_be_had_for_the_next_one(monkeypatch):
    """A container's limit of processes; every later call waited for ever."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    source = Source(rows=6)
    ahead = ReadAhead(lambda: source, PATIENCE)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        first = ahead.page(0, UNTIL, 3)

    assert ids(first) == ["e1", "e2", "e3"]
    assert ids(ahead.page(3, UNTIL, 3)) == ["e4", "e5", "e6"]


def test_a_time_limit_while_the_thread_begins_leaves_nothing_to_wait_for(monkeypatch):
    class TimeLimit(BaseException):
        """As Celery raises it in whatever runs."""

    def start(_: threading.Thread) -> None:
        raise TimeLimit

    source = Source(rows=6)
    ahead = ReadAhead(lambda: source, PATIENCE)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(TimeLimit):
            ahead.page(0, UNTIL, 3)

    assert ids(ahead.page(0, UNTIL, 3)) == ["e1", "e2", "e3"]


def test_a_page_that_never_comes_is_not_waited_for_for_ever():
    """The source is still in use by its thread, so the next call has another one."""
    hanging, other = Source(rows=9), Source(rows=30)
    sources = [hanging, other]
    ahead = ReadAhead(lambda: sources.pop(0), 0.05)
    ahead.page(0, UNTIL, 3)
    until_done(hanging, 2)
    hanging.held.clear()
    ahead.page(3, UNTIL, 3)
    until_begun(hanging, 3)

    with pytest.raises(Unavailable, match=r"0\.05 s"):
        ahead.count(0, UNTIL)
    rows = ahead.page(6, UNTIL, 3)
    ahead.close()

    assert ids(rows) == ["e7", "e8", "e9"]
    assert other.threads == ["MainThread"] * 2, "no page is read ahead beside a hanging thread"
    assert not hanging.side_by_side
    hanging.held.set()
    until_done(hanging, 3)
    ahead.page(9, UNTIL, 3)
    ahead.close()
    assert "read-ahead" in other.threads


def test_nothing_is_read_behind_a_page_that_is_not_half_full():
    """A poll of an idle source would ask twice each time."""
    source = Source(rows=1)
    ahead = ReadAhead(lambda: source, PATIENCE)

    ahead.page(0, UNTIL, 3)
    ahead.close()

    assert len(source.calls) == 1


def test_nothing_is_read_behind_the_end_of_the_window():
    source = Source(rows=3)
    ahead = ReadAhead(lambda: source, PATIENCE)

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
    ahead = ReadAhead(lambda: source, PATIENCE)
    ahead.page(0, UNTIL, 3)
    until_done(source, 2)
    source.held.clear()
    ahead.page(3, UNTIL, 3)  # begins a third page, which hangs
    until_begun(source, 3)
    threading.Timer(0.05, source.held.set).start()

    call(ahead)

    assert not source.side_by_side
    assert source.threads[2] == "read-ahead"


def test_a_failure_is_raised_where_the_page_is_asked_for_and_then_it_is_asked_anew():
    """Swallowed, it would be a page without rows: the end of the window."""
    source = Source(rows=6)
    source.failing = 2
    ahead = ReadAhead(lambda: source, PATIENCE)
    ahead.page(0, UNTIL, 3)

    with pytest.raises(Unavailable):
        ahead.page(3, UNTIL, 3)

    assert ids(ahead.page(3, UNTIL, 3)) == ["e4", "e5", "e6"]


def test_a_forked_process_does_not_wait_for_its_parents_thread():
    """The worker forks its children; the thread is not among what they inherit."""
    source = Source(rows=6)
    ahead = ReadAhead(lambda: source, PATIENCE)
    ahead.page(0, UNTIL, 3)
    until_done(source, 2)
    source.held.clear()
    ahead.page(3, UNTIL, 3)  # its thread, for a third page, hangs

    child = os.fork()
    if child == 0:
        try:
            source.after_fork()
            rows = ahead.page(5, UNTIL, 3)
            os._exit(0 if ids(rows) == ["e6"] else 1)
        finally:  # whatever is raised here: pytest must not go on in the child
            os._exit(2)
    source.held.set()
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
