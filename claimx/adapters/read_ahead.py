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
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from claimx.domain.errors import Unavailable
from claimx.domain.polling import TIME
from claimx.domain.ports.source import EventSource, SourceRow
from claimx.domain.times import Micros

FRESH_SECONDS = 10.0
"""A page that was there longer ago is asked for anew."""

_Asked: TypeAlias = tuple[Micros, Micros, int]


class ClosableSource(EventSource, Protocol):
    """A source with connections to give back."""

    def close(self) -> None:
        """Close them; the next call opens new ones."""


@dataclass(slots=True)
class _Ahead:
    asked: _Asked
    pid: int
    rows: Future[list[SourceRow]] = field(default_factory=Future)
    done_at: float = 0.0


class ReadAhead:
    """
    `EventSource` over what *make* returns, which is never called by two threads at a time.

    A page is read ahead when the last one was at least half full, and given to whoever asks for
    just that page within ten seconds, or while it is being read: what it shows is what a slower
    query would have shown. Its failure is raised there, too. Where such a page was not wanted, none
    is read ahead until two pages are asked for one after the other again: who pauses between pages
    would have each of them read twice.

    A page under way is waited for *patience* seconds, more than a query may take; then the call
    raises Unavailable, and the next one has a source of its own. No page is read ahead while a
    thread hangs in an older one, so there is no more than one such thread. *now* is a monotonic
    clock. Not for several threads; safe across a fork.
    """

    def __init__(
        self,
        make: Callable[[], ClosableSource],
        patience: float,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._source = make()
        self._patience = patience
        self._now = now
        self._ahead: _Ahead | None = None
        self._next: tuple[_Asked, float] | None = None  # and when the page before it was given
        self._unwanted = False
        self._hung: _Ahead | None = None

    def page(
        self, after: Micros, until: Micros, limit: int, exclude: Sequence[str] = ()
    ) -> list[SourceRow]:
        """See `EventSource.page`."""
        asked = (after, until, limit)
        ahead = self._settled(None if exclude else asked)
        if exclude:
            return self._source.page(after, until, limit, exclude)
        if self._next and self._next[0] == asked and self._now() - self._next[1] < FRESH_SECONDS:
            self._unwanted = False
        rows = ahead.result() if ahead else self._source.page(after, until, limit)
        self._next = None
        if rows and 2 * len(rows) >= limit and (last := int(rows[-1][TIME])) < until:
            if not self._unwanted:
                self._begin((last, until, limit))
            self._next = (last, until, limit), self._now()
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
        """Close the source; one in which a page hangs is left to its thread."""
        with suppress(Unavailable):
            self._settled()
        self._source.close()

    def _begin(self, asked: _Asked) -> None:
        if self._hung and self._hung.pid == os.getpid() and not self._hung.rows.done():
            return
        ahead = self._ahead = _Ahead(asked, os.getpid())
        context = contextvars.copy_context()  # whose poll it is, for what is logged and traced
        thread = threading.Thread(
            target=context.run, args=(self._read, ahead), name="read-ahead", daemon=True
        )
        try:
            thread.start()
        except BaseException as error:  # no thread to be had, a time limit
            if ahead.rows.cancel():  # or else it is on its way
                self._ahead = None
            if not isinstance(error, RuntimeError):
                raise

    def _read(self, ahead: _Ahead) -> None:
        if not ahead.rows.set_running_or_notify_cancel():
            return
        try:
            rows = self._source.page(*ahead.asked)
        except BaseException as error:  # noqa: BLE001 - raised where the page is asked for
            ahead.done_at = self._now()
            ahead.rows.set_exception(error)
        else:
            ahead.done_at = self._now()
            ahead.rows.set_result(rows)

    def _settled(self, asked: _Asked | None = None) -> Future[list[SourceRow]] | None:
        """Wait for the thread; returns its page if that is the one *asked* for."""
        ahead = self._ahead
        if ahead is None or ahead.pid != os.getpid():  # a parent's thread is not this one's
            self._ahead = None
            return None
        is_there = ahead.rows.done()
        try:
            ahead.rows.exception(self._patience)
        except TimeoutError:
            self._ahead, self._hung, self._source = None, ahead, self._make()
            raise Unavailable(
                f"a page of the source was not there after {self._patience:g} s, longer than"
                " CLAIMX_EVENTHOUSE_QUERY_TIMEOUT allows"
            ) from None
        self._ahead = None
        fresh = not is_there or self._now() - ahead.done_at < FRESH_SECONDS
        if ahead.asked == asked and fresh:
            return ahead.rows
        self._unwanted = True
        return None
