"""
What has been said of a large table and is not in it yet: a Delta table beside it.

A flush appends here at the cost of what it brings, whatever the table holds. Now and then
`claimx.adapters.lake.folding` brings what many flushes have said into the table, and forgets it
here. Any Delta reader can read the log: it has the table's columns, with the values that were said.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from claimx.adapters.lake.antijoin import Take
from claimx.adapters.lake.files import HOOKS, WRITER, replace
from claimx.adapters.lake.handles import Conflict, Handle, our_errors, read_newest
from claimx.adapters.lake.scan import Span, actions_of, scan, values
from claimx.adapters.lake.schema import from_arrow, to_arrow
from claimx.adapters.lake.spill import sample_of
from claimx.domain.changes import Change, Source
from claimx.domain.columns import Column, ColumnType, Rule, Table
from claimx.domain.errors import Unavailable
from claimx.domain.times import Micros, from_datetime
from claimx.domain.upsert import Key, Said

T = TypeVar("T")

SUFFIX = "_changes"
WRITTEN_AT = "written_at"
_TRIES = 8
_TIMES = {"last_enriched_at": "enriched_at", "updated_at": WRITTEN_AT}
OWN_COLUMNS = (
    Column(WRITTEN_AT, ColumnType.TIME, "When the flush began that brought it.", Rule.BOOKKEEPING),
    Column("source", doc="Whose word it is: answer, event, link or result."),
    Column("said", doc="The columns it speaks of, by commas; the others are null here."),
    Column("event_id", doc="The event behind it."),
    Column("event_time", ColumnType.TIME, "That event's own time."),
    Column("enriched_at", ColumnType.TIME, "When the API was asked; null if it was not."),
)


def log_of(table: Table) -> Table:
    """Return the declaration of a table's change log."""
    said = [column for column in table.columns if column.rule is not Rule.BOOKKEEPING]
    return Table(
        name=f"{table.name}{SUFFIX}",
        setting="",
        doc=f"What was said of {table.name} and is not in it yet.",
        key=table.key,
        columns=(*OWN_COLUMNS, *said),
    )


@dataclass(frozen=True, slots=True)
class Pending:
    """What the log holds: its files, their rows, and when the oldest of them came."""

    files: tuple[str, ...] = ()
    rows: int = 0
    oldest: Micros | None = None


class ChangeLog:
    """The log of one table, through a handle of its own."""

    def __init__(
        self, table: Table, handle: Handle, ensure: Callable[[Handle, Table], None]
    ) -> None:
        self.table = table
        self.log = log_of(table)
        self.handle = handle
        self._ensure = ensure
        self._columns = self.log.column_names

    def append(self, changes: Sequence[Change], now: Micros) -> int:
        """
        Append what a flush brings, in one commit; returns the log's version.

        Raises UnfitError before anything is written, else as `Committer.commit` does. Appending
        again is right: what is there twice is said twice. Writers never wait for each other here.
        """
        with self.handle.lock:
            self._ensure(self.handle, self.log)
            batch = to_arrow(self.log, [self._row(change, now) for change in changes])
            return self._commit(lambda snapshot: _append(snapshot, batch))

    def pending(self) -> Pending:
        """Return what is there; nothing when there is no log."""
        found = self._read(_pending)
        return Pending() if found is None else found

    def read(
        self, files: Collection[str], columns: Sequence[str] | None = None, condition: Any = None
    ) -> pa.Table:
        """Return the rows of these files that meet *condition*; raises when one is gone."""
        wanted = frozenset(files)

        def read(snapshot: DeltaTable) -> pa.Table:
            return scan(snapshot, self.log, columns=columns, condition=condition, files=wanted)

        found = self._read(read)
        return to_arrow(self.log, []) if found is None else found

    def sample(self, pending: Pending) -> pa.Array[Any]:
        """Return every so-many-th first key part of what is pending, sorted."""
        found: list[pa.Array[Any]] = []

        def take(pieces: Iterator[pa.Array[Any]]) -> None:
            found.append(sample_of(pieces, pending.rows))

        self.read_ids(None, take)
        return found[0] if found else sample_of((), 0)

    def said(self, condition: Any, keys: Mapping[str, Sequence[str]] | None = None) -> pa.Table:
        """Return all rows that meet *condition*; *keys* skips files as in `scan`."""
        found = self._read(lambda one: scan(one, self.log, condition=condition, keys=keys))
        return to_arrow(self.log, []) if found is None else found

    def read_ids(self, condition: Any, take: Take, span: Span | None = None) -> None:
        """
        Give the first key parts of the rows that meet a condition to *take*, in pieces.

        *span* is of the table's times; what is said here is the newest of them when it is taken in.
        """
        if span is not None:
            span = Span(_TIMES.get(span.column, span.column), span.after, span.until)
            condition = span.condition if condition is None else condition & span.condition
        self._read(lambda one: take(values(one, self.log, self.log.key[0], condition, span)))

    def by_key(self, rows: pa.Table) -> dict[Key, Said]:
        """Read rows of the log back: what was said of each key, by when it was written."""
        groups: dict[Key, Said] = {}
        for row in from_arrow(self.log, rows):
            key = tuple(row[name] for name in self.table.key)
            said = groups.setdefault(key, {})
            said.setdefault(row[WRITTEN_AT], []).append(self._change(row))
        return groups

    def forget(self, files: Collection[str]) -> None:
        """Remove files whose changes are in the table; what is gone already is no error."""
        gone = frozenset(files)
        with self.handle.lock:
            self._commit(lambda snapshot: _remove(snapshot, self.log, gone))

    def _commit(self, change: Callable[[DeltaTable], None]) -> int:
        for _ in range(_TRIES):
            try:
                with our_errors(self.log.name, self.handle):
                    snapshot = self.handle.fresh()
                    change(snapshot)
                    self.handle.committed()
                    return snapshot.version()
            except Conflict:  # others removed files, or changed the columns: look again
                continue
        raise Unavailable(f"{self.log.name}: others keep changing it")

    def _read(self, read: Callable[[DeltaTable], T]) -> T | None:
        return read_newest(self.log.name, self.handle, read)

    def _row(self, change: Change, now: Micros) -> dict[str, Any]:
        row = dict.fromkeys(self._columns) | change.values
        row[WRITTEN_AT], row["said"] = now, ",".join(change.values)
        row["source"], row["event_id"] = change.source.value, change.event_id
        row["event_time"], row["enriched_at"] = change.event_time, change.enriched_at
        return row

    def _change(self, row: dict[str, Any]) -> Change:
        return Change(
            table=self.table.name,
            values={name: row[name] for name in row["said"].split(",")},
            source=Source(row["source"]),
            event_id=row["event_id"],
            event_time=row["event_time"],
            enriched_at=row["enriched_at"],
        )


def _append(snapshot: DeltaTable, batch: pa.Table) -> None:
    write_deltalake(
        snapshot,
        batch,
        mode="append",
        schema_mode="merge",
        writer_properties=WRITER,
        post_commithook_properties=HOOKS,
    )


def _remove(snapshot: DeltaTable, log: Table, gone: frozenset[str]) -> None:
    actions = actions_of(snapshot)
    there = [action for action in actions if action["path"] in gone]
    if there:
        replace(snapshot, log, there, [])


def _pending(snapshot: DeltaTable) -> Pending:
    actions = actions_of(snapshot)
    oldest = [one for action in actions if (one := action.get(f"min.{WRITTEN_AT}")) is not None]
    return Pending(
        tuple(action["path"] for action in actions),
        sum(int(action["num_records"] or 0) for action in actions),
        from_datetime(min(oldest)) if oldest else None,
    )
