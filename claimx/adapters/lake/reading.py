"""Reading the nine tables as they are when all that waits in a log is taken in."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from claimx.adapters.lake.antijoin import Take
from claimx.adapters.lake.deciding import Deciding
from claimx.adapters.lake.handles import Handle, read_newest
from claimx.adapters.lake.large import LargeTables
from claimx.adapters.lake.scan import Span, in_span, one_of, scan, values
from claimx.adapters.lake.schema import from_arrow
from claimx.adapters.lake.unattached import unattached_ids
from claimx.domain.audit import time_column
from claimx.domain.changes import Values
from claimx.domain.columns import Table
from claimx.domain.tables import EVENTS, MEDIA
from claimx.domain.times import Micros, day_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Days:
    """The days from *first* to *last*; they may be millions, by an event's own time."""

    first: date
    last: date

    def __contains__(self, day: object) -> bool:
        """Say whether it is one of them."""
        return isinstance(day, date) and self.first <= day <= self.last


class Reading:
    """What is read of the tables for the pipeline's own decisions; a missing table has no rows."""

    def __init__(
        self, handles: Mapping[str, Handle], large: LargeTables, deciding: Deciding
    ) -> None:
        self._handles = handles
        self._large = large
        self._deciding = deciding

    def known_events(self, ids: Sequence[str], since: Micros, until: Micros) -> set[str]:
        """See `Lake.known_events`; a table that is not there knows none."""
        if not ids:
            return set()
        condition = one_of("event_id", ids)
        days = Days(date.fromisoformat(day_of(since)), date.fromisoformat(day_of(until)))
        found = self._scan(EVENTS, ["event_id"], condition, days)
        return (
            set() if found is None else {str(one) for one in found.column("event_id").to_pylist()}
        )

    def recent_events(self, since: Micros, until: Micros, limit: int) -> list[str]:
        """See `Lake.recent_events`."""
        moment = pc.field("ingested_at")
        zone = pa.timestamp("us", tz="UTC")
        condition = (moment >= pa.scalar(since, zone)) & (moment <= pa.scalar(until, zone))
        span = Span("ingested_at", since - 1, until)
        found = self._scan(EVENTS, ["event_id", "ingested_at"], condition, span=span)
        if found is None:
            return []
        newest = found.sort_by([("ingested_at", "descending"), ("event_id", "descending")])
        return [str(one) for one in newest.slice(0, limit).column("event_id").to_pylist()]

    def unattached_media(
        self,
        limit: int,
        after: str = "",
        enriched_until: Micros | None = None,
        *,
        enriched_after: Micros | None = None,
        failed_too: bool = False,
    ) -> list[Values]:
        """See `Lake.unattached_media`; tables that are not there have no rows."""
        span = Span.over(time_column(MEDIA), enriched_after, enriched_until)
        found: list[Values] = []
        while True:
            wanted = limit - len(found)
            ids = unattached_ids(self.read_ids, wanted, after, span, failed_too=failed_too)
            rows = self.now(MEDIA, one_of("media_id", ids), {"media_id": ids}) if ids else []
            # what waits in a log may have moved a row out of the span, or have found a link
            found += [row for row in rows if row["downloadable"] and in_span(row, span)]
            if len(ids) < wanted or len(found) >= limit:
                return sorted(found, key=lambda row: str(row["media_id"]))
            after = ids[-1]

    def now(
        self,
        table: Table,
        condition: Any = None,
        keys: Mapping[str, Sequence[str]] | None = None,
    ) -> list[Values]:
        """
        Return the rows as they are when all that waits in the log is taken in.

        The log is read before the table: what is folded in between is in both, which is right.
        """
        said = self._large.said(table, condition, keys)
        found = self._scan(table, None, condition, keys=keys)
        return self._deciding.now(table, said, [] if found is None else from_arrow(table, found))

    def _scan(
        self,
        table: Table,
        columns: Sequence[str] | None = None,
        condition: Any = None,
        days: Container[date] | None = None,
        keys: Mapping[str, Sequence[str]] | None = None,
        span: Span | None = None,
    ) -> pa.Table | None:
        def read(snapshot: DeltaTable) -> pa.Table:
            return scan(
                snapshot,
                table,
                columns=columns,
                condition=condition,
                keys=keys,
                partitions=days,
                span=span,
            )

        return self.read(table, read)

    def read_ids(self, table: Table, condition: Any, take: Take, span: Span | None = None) -> None:
        """See `claimx.adapters.lake.antijoin.Read`; with those that wait in a log."""
        self._large.read_ids(table, condition, take, span)
        self.read_stored_ids(table, condition, take, span)

    def read_stored_ids(
        self, table: Table, condition: Any, take: Take, span: Span | None = None
    ) -> None:
        """See `claimx.adapters.lake.antijoin.Read`; of the table itself alone."""
        if span is not None:
            condition = span.condition if condition is None else condition & span.condition

        def read(snapshot: DeltaTable) -> None:
            take(values(snapshot, table, table.key[0], condition, span))

        self.read(table, read)

    def read(self, table: Table, read: Callable[[DeltaTable], T]) -> T | None:
        """Return what *read* makes of the newest version, None when there is no table."""
        return read_newest(table.name, self._handles[table.name], read)
