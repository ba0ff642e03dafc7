"""A range of the source in pieces that fit into memory, each event of a piece once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import structlog

from claimx.domain.errors import ClaimXError, ErrorCategory
from claimx.domain.events import Event
from claimx.domain.polling import TIME
from claimx.domain.ports.source import EventSource, SourceRow
from claimx.domain.times import Micros
from claimx.services.source_rows import read_source_row

log = structlog.get_logger(__name__)

PAGE_ROWS = 5000  # of one query: some megabytes
PIECE_ROWS = 20_000  # held at once, of about a kilobyte each; one look at the lake for all of them
PIECE_BYTES = 32 * 1024 * 1024  # of rows as JSON: rows may be large
RETRIES = 2  # of one page, 2 and 4 s apart, or as long as the source asks for
LONGEST_PAUSE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Row:
    """
    What a source row is: an *event*, or what the malformed row says, to be parsed once more.

    *at* is its ingestion time.
    """

    at: Micros
    event: Event | None
    plain: dict[str, Any] | None = None


@dataclass(slots=True)
class Piece:
    """Rows with after < ingestion time <= until by record id; the first of an id stands."""

    after: Micros
    until: Micros
    rows: dict[str, Row] = field(default_factory=dict)
    read: int = 0
    size: int = 0

    def take(self, row: SourceRow) -> None:
        """Add a row."""
        record_id, told, size = read_source_row(row)
        self.read += 1
        if record_id in self.rows:
            return
        self.size += size
        at = int(row[TIME])
        self.rows[record_id] = Row(at, told) if isinstance(told, Event) else Row(at, None, told)

    @property
    def full(self) -> bool:
        """Whether it is as large as a piece may be."""
        return len(self.rows) >= PIECE_ROWS or self.size >= PIECE_BYTES

    @property
    def event_times(self) -> dict[str, Micros]:
        """The ids of its events with their ingestion times."""
        rows = self.rows.values()
        return {row.event.event_id: row.at for row in rows if row.event is not None}


def pieces(
    source: EventSource, after: Micros, until: Micros, sleep: Callable[[float], None]
) -> Iterator[Piece]:
    """
    Yield the range piece by piece; together they cover all of it, the last one may be empty.

    A piece exceeds its bounds by one page at most, and a page by the rows of one ingestion time,
    which are never cut apart. A page that fails is asked for again some seconds later, unless that
    cannot help; raises its last failure.
    """
    at = after
    piece = Piece(after, until)
    while at < until:
        rows = _page(source, at, until, sleep)
        if not rows:
            break
        for row in rows:
            piece.take(row)
        at = int(rows[-1][TIME])
        if piece.full and at < until:
            piece.until = at
            yield piece
            piece = Piece(at, until)
    if piece.after < until:
        yield piece


def _page(
    source: EventSource, after: Micros, until: Micros, sleep: Callable[[float], None]
) -> list[SourceRow]:
    for attempt in range(RETRIES):
        try:
            return source.page(after, until, PAGE_ROWS)
        except ClaimXError as error:
            if error.category is ErrorCategory.PERMANENT:
                raise
            delay = min(max(2.0 ** (attempt + 1), error.retry_after or 0.0), LONGEST_PAUSE_SECONDS)
            log.warning("the source is asked again", error=str(error), delay=delay)
            sleep(delay)
    return source.page(after, until, PAGE_ROWS)
