"""What reconcile asks of the Delta tables: the real `LakeAudit`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import pyarrow as pa
from deltalake import DeltaTable

from claimx.adapters.lake.antijoin import (
    Ids,
    Read,
    Side,
    Take,
    ids_beside,
    ids_without,
    repeated_ids,
)
from claimx.adapters.lake.scan import Span, in_span, one_of, scan
from claimx.adapters.lake.schema import from_arrow
from claimx.domain.audit import time_column
from claimx.domain.changes import Values
from claimx.domain.columns import Table
from claimx.domain.tables import ATTACHMENTS, EVENTS, MEDIA
from claimx.domain.times import Micros

T = TypeVar("T")
Now = Callable[[Table, Any, Mapping[str, Sequence[str]]], list[Values]]
Newest = Callable[[Table, Callable[[DeltaTable], T]], "T | None"]

_OF_EVENTS = (
    *("event_id", "event_type", "project_id", "media_id", "media_ids", "task_assignment_id"),
    "ingested_at",
)
_OF_ATTACHMENTS = ("media_id", "project_id", "event_id", "status")


class DeltaAudit:
    """
    `LakeAudit` over *newest*, which hands a table's newest version to a function.

    *read* gives ids in pieces (see `claimx.adapters.lake.antijoin`), those that wait beside a large
    table as well; *stored* gives its own alone, *waiting* the others. *now* gives the rows of some
    keys as they will be.
    """

    def __init__(
        self,
        newest: Newest[pa.Table],
        read: Read,
        now: Now,
        *,
        stored: Read,
        waiting: Callable[[Table, Any, Take], None],
    ) -> None:
        self._newest = newest
        self._read = read
        self._stored = stored
        self._waiting = waiting
        self._now = now

    def events(self, ids: Sequence[str], since: Micros, until: Micros) -> list[Values]:
        """See `LakeAudit.events`."""
        if not ids:
            return []
        span = Span(time_column(EVENTS), since - 1, until)
        return self._rows(EVENTS, _OF_EVENTS, ids, span)

    def other_events(
        self, known: Sequence[str], after: Micros, until: Micros, limit: int, beyond: str = ""
    ) -> list[str]:
        """See `LakeAudit.other_events`."""
        return ids_beside(
            self._read, _side(EVENTS, after, until), pa.array(known, pa.string()), limit, beyond
        )

    def repeated(
        self, table: Table, after: Micros, until: Micros, limit: int, beyond: str = ""
    ) -> list[str]:
        """See `LakeAudit.repeated`."""
        return repeated_ids(self._stored, _side(table, after, until), limit, beyond)

    def media_in(self, table: Table, ids: Sequence[str]) -> set[str]:
        """See `LakeAudit.media_in`."""
        if not ids:
            return set()
        found: set[str] = set()

        def take(pieces: Iterator[Ids]) -> None:
            found.update(str(one) for piece in pieces for one in piece.to_pylist())

        # first what waits: what a fold brings into the table in between is in both then
        self._waiting(table, one_of("media_id", ids), take)
        return found | {str(row["media_id"]) for row in self._rows(table, ("media_id",), ids)}

    def attachments_without_media(
        self, after: Micros, until: Micros, limit: int, beyond: str = ""
    ) -> list[Values]:
        """See `LakeAudit.attachments_without_media`."""
        side = _side(ATTACHMENTS, after, until)
        found: list[Values] = []
        while True:
            wanted = limit - len(found)
            ids = ids_without(self._read, side, Side(MEDIA), wanted, beyond)
            rows = sorted(self._of(ATTACHMENTS, ids), key=lambda row: str(row["media_id"]))
            # what waits in a log may say nothing new: then its row is as old as before
            found += [row for row in rows if in_span(row, side.span)]
            if len(ids) < wanted or len(found) >= limit:
                return [{name: row[name] for name in _OF_ATTACHMENTS} for row in found]
            beyond = ids[-1]

    def _of(self, table: Table, ids: Sequence[str]) -> list[Values]:
        key = table.key[0]
        return self._now(table, one_of(key, ids), {key: sorted(ids)}) if ids else []

    def _rows(
        self, table: Table, columns: Sequence[str], ids: Sequence[str], span: Span | None = None
    ) -> list[Values]:
        """Return the rows of *ids* with *columns*; the others are null."""
        key = table.key[0]
        condition: Any = one_of(key, ids)
        if span is not None:
            condition &= span.condition
        keys = {key: sorted(ids)}

        def read(snapshot: DeltaTable) -> pa.Table:
            return scan(snapshot, table, columns=columns, condition=condition, keys=keys, span=span)

        found = self._newest(table, read)
        if found is None:
            return []
        return [{name: row[name] for name in columns} for row in from_arrow(table, found)]


def _side(table: Table, after: Micros, until: Micros) -> Side:
    return Side(table, span=Span(time_column(table), after, until))
