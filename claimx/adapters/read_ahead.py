"""
The next page of the source, read while the last one is worked on.

A poll, a catch-up and a backfill read page after page, and each page waits for Kusto and then for
its rows to be sifted and stored. With one page read ahead these go on side by side.
"""

from __future__ import annotations

import contextvars
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from claimx.domain.polling import TIME
from claimx.domain.ports.source import EventSource, SourceRow
from claimx.domain.times import Micros

FRESH_SECONDS = 10.0
"""A page that was asked for longer ago is asked for anew."""


class ClosableSource(EventSource, Protocol):
    """A source with connections to give back."""

    def close(self) -> None:
        """Close them; the next call opens new ones."""


@dataclass(frozen=True, slots=True)
class _Ahead:
    asked: tuple[Micros, Micros, int]
    at: float
    pid: int
    rows: Future[list[SourceRow]]


class ReadAhead:
    """
    `EventSource` over *source*, which is never called by two threads at a time.

    A page is read ahead when the last one was at least half full, and given to whoever asks for
    just that page within ten seconds: what was seen then is what a slower query would have seen.
    Its failure is raised there, too. *now* is a monotonic clock. Not for several threads; safe
    across a fork.
    """

    def __init__(
        self, source: ClosableSource, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._source = source
        self._now = now
        self._ahead: _Ahead | None = None

    def page(
        self, after: Micros, until: Micros, limit: int, exclude: Sequence[str] = ()
    ) -> list[SourceRow]:
        """See `EventSource.page`."""
        ahead = self._settled()
        if (
            ahead is not None
            and not exclude
            and ahead.asked == (after, until, limit)
            and self._now() - ahead.at < FRESH_SECONDS
        ):
            rows = ahead.rows.result()
        else:
            rows = self._source.page(after, until, limit, exclude)
        if not exclude and 2 * len(rows) >= limit and rows:
            self._begin((int(rows[-1][TIME]), until, limit))
        return rows

    def count(self, after: Micros, until: Micros) -> int:
        """See `EventSource.count`."""
        self._settled()
        return self._source.count(after, until)

    def nameless(self, after: Micros, until: Micros, limit: int) -> list[SourceRow]:
        """See `EventSource.nameless`."""
        self._settled()
        return self._source.nameless(after, until, limit)

    def having(self, ids: Sequence[str]) -> list[SourceRow]:
        """See `EventSource.having`."""
        self._settled()
        return self._source.having(ids)

    def oldest(self, until: Micros) -> Micros | None:
        """See `EventSource.oldest`."""
        self._settled()
        return self._source.oldest(until)

    def close(self) -> None:
        """Close the source; a page under way is waited for, as long as its query may take."""
        self._settled()
        self._source.close()

    def _begin(self, asked: tuple[Micros, Micros, int]) -> None:
        if asked[0] >= asked[1]:
            return
        rows: Future[list[SourceRow]] = Future()
        self._ahead = _Ahead(asked, self._now(), os.getpid(), rows)
        context = contextvars.copy_context()  # whose poll it is, for what is logged and traced
        threading.Thread(
            target=context.run, args=(self._read, asked, rows), name="read-ahead", daemon=True
        ).start()

    def _read(self, asked: tuple[Micros, Micros, int], rows: Future[list[SourceRow]]) -> None:
        try:
            rows.set_result(self._source.page(*asked))
        except BaseException as error:  # noqa: BLE001 - raised where the page is asked for
            rows.set_exception(error)

    def _settled(self) -> _Ahead | None:
        """Return what was read ahead, once its thread is through; a parent's is not this one's."""
        ahead = self._ahead
        if ahead is None:
            return None
        if ahead.pid == os.getpid():
            ahead.rows.exception()  # waits; the query has a time limit of its own
        self._ahead = None
        return ahead if ahead.pid == os.getpid() else None
