"""
What a reader of the source has met so far in one run: which ids it has stored, and rows of late.

A source that doubles rows doubles many, and mostly within seconds. A row that came before and says
the same need not be read to know it for a double, which takes a quarter of the time.
"""

from __future__ import annotations

from claimx.domain.events import Event
from claimx.domain.ports.source import SourceRow
from claimx.domain.records import event_record_id
from claimx.services.source_rows import is_copy

MOST_IDS = 500_000  # some 60 MB at the most
MOST_ROWS = 10_000  # kept as they came; the oldest go
MOST_BYTES = 32 * 1024 * 1024  # of them


class Met:
    """
    The record ids that were stored, as pages that may not be admitted yet; at most `MOST_IDS`.

    Rows are kept only once `doubles` says that there are such: most sources have none for days.
    """

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._rows: dict[str, tuple[SourceRow, Event, int]] = {}
        self._bytes = 0
        self.doubles = False

    def __contains__(self, record_id: str) -> bool:
        return record_id in self._ids

    def add(self, record_id: str, row: SourceRow, event: Event | None, size: int) -> None:
        """Note what is about to be stored: *row*, of *size* bytes, and its *event* if it is one."""
        if len(self._ids) >= MOST_IDS:
            return
        self._ids.add(record_id)
        if self.doubles and event is not None:
            self._rows[record_id] = row, event, size
            self._bytes += size
            while len(self._rows) > MOST_ROWS or self._bytes > MOST_BYTES:
                self._bytes -= self._rows.pop(next(iter(self._rows)))[2]

    def has_copy_of(self, row: SourceRow) -> bool:
        """Say whether the same was met before but for the time at which it came."""
        event_id = row.get("event_id")
        if type(event_id) is not str:
            return False
        met = self._rows.get(event_record_id(event_id))
        return met is not None and is_copy(row, met[0], met[1])

    def forget(self) -> None:
        """Begin anew: what was stored may be lost, and rows that come again are no doubles."""
        self._ids.clear()
        self._rows.clear()
        self._bytes = 0
