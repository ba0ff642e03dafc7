"""What reconcile asks of the Delta tables: the real `LakeAudit`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pyarrow as pa
from deltalake import DeltaTable

from claimx.adapters.lake.antijoin import (
    Read,
    Side,
    ids_beside,
    ids_without,
    repeated_ids,
)
from claimx.adapters.lake.scan import Span, one_of, scan
from claimx.adapters.lake.schema import from_arrow
from claimx.domain.audit import time_column
from claimx.domain.changes import Values
from claimx.domain.tables import ATTACHMENTS, EVENTS, MEDIA, Table
from claimx.domain.times import Micros

T = TypeVar("T")
Newest = Callable[[Table, Callable[[DeltaTable], T]], "T | None"]

_OF_EVENTS = (
    *("event_id", "event_type", "project_id", "media_id", "media_ids", "task_assignment_id"),
    "ingested_at",
)
_OF_ATTACHMENTS = ("media_id", "project_id", "event_id", "status")


class DeltaAudit:
    """
    `LakeAudit` over *newest*, which hands a table's newest version to a function.

    *read* gives ids in pieces; see `claimx.adapters.lake.antijoin`.
    """

    def __init__(self, newest: Newest[pa.Table], read: Read) -> None:
        self._newest = newest
        self._read = read

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
        return repeated_ids(self._read, _side(table, after, until), limit, beyond)

    def media_in(self, table: Table, ids: Sequence[str]) -> set[str]:
        """See `LakeAudit.media_in`."""
        if not ids:
            return set()
        return {str(row["media_id"]) for row in self._rows(table, ("media_id",), ids)}

    def attachments_without_media(
        self, after: Micros, until: Micros, limit: int, beyond: str = ""
    ) -> list[Values]:
        """See `LakeAudit.attachments_without_media`."""
        side = _side(ATTACHMENTS, after, until)
        ids = ids_without(self._read, side, Side(MEDIA), limit, beyond)
        rows = self._rows(ATTACHMENTS, _OF_ATTACHMENTS, ids) if ids else []
        return sorted(rows, key=lambda row: str(row["media_id"]))

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
