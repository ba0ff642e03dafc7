"""What an operator asks of the tables: how large they are, how they lie, what they differ in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import pyarrow as pa
from deltalake import DeltaTable

from claimx.adapters.lake.files import actions_of, whole_schema
from claimx.adapters.lake.handles import Handle, read_newest
from claimx.adapters.lake.layout import Sizes, pieces_of
from claimx.adapters.lake.readers import READER, WRITER, diagnoses
from claimx.adapters.lake.schema import arrow_schema
from claimx.domain.columns import Table
from claimx.domain.diagnosis import Diagnosis
from claimx.domain.folding import delay_seconds
from claimx.domain.ports.lake import Backlog
from claimx.domain.times import MICROS_PER_SECOND

T = TypeVar("T")

_OVERDUE = 4  # times the delay after which a fold begins: nobody folds
_MILLISECONDS = 1000


@dataclass(frozen=True, slots=True)
class TableState:
    """
    A table as it lies in the lake.

    *pieces* are the ranges of keys that a fold rewrites one by one, *waiting* the changes that it
    has not taken in yet. *reader* and *writer* are the versions of the Delta protocol it asks for.
    """

    name: str
    path: str
    version: int = -1
    rows: int = 0
    files: int = 0
    bytes: int = 0
    pieces: int = 0
    waiting: int = 0
    last_commit: str | None = None
    reader: int = 0
    writer: int = 0

    @property
    def exists(self) -> bool:
        """Say whether there is such a table."""
        return self.version >= 0


class Inspection:
    """Looks at tables, and changes nothing. Raises as `Lake.upsert` does."""

    def __init__(
        self, handles: Mapping[str, Handle], backlog: Callable[[Table], Backlog], sizes: Sizes
    ) -> None:
        self._handles = handles
        self._backlog = backlog
        self._sizes = sizes

    def state(self, table: Table) -> TableState:
        """Return how a table lies; one that is not there has version -1."""
        found = self._look(table, lambda snapshot: self._state(snapshot, table))
        return found or TableState(table.name, self._handles[table.name].uri)

    def history(self, table: Table, limit: int) -> list[dict[str, Any]]:
        """Return the newest commits, the newest first: version, time, operation and its numbers."""
        found = self._look(table, lambda snapshot: snapshot.history(limit))
        return [_commit(entry) for entry in found or []]

    def differences(self, table: Table) -> list[str]:
        """Return what a table differs in from its declaration; nothing when it is not there."""
        return self._look(table, lambda snapshot: _differences(snapshot, table)) or []

    def diagnoses(self, table: Table, now: float) -> list[Diagnosis]:
        """Return what is wrong with a table at *now* (epoch seconds); see `readers.diagnoses`."""
        rows = self._sizes.direct
        found = self._look(table, lambda snapshot: diagnoses(snapshot, table, rows)) or []
        found += [
            Diagnosis("lake", table.name, line, "the table is not what its readers are told", to_do)
            for line, to_do in self._strangers(table)
        ]
        backlog = Backlog() if table.insert_only else self._backlog(table)
        if backlog.changes and backlog.oldest is not None:
            waited = now - backlog.oldest / MICROS_PER_SECOND
            if waited > _OVERDUE * delay_seconds(backlog.rows):
                found.append(
                    Diagnosis(
                        "lake",
                        table.name,
                        f"{backlog.changes:,} changes have waited for {waited:,.0f} s",
                        "a plain SELECT does not show them",
                        "see that a writer runs, and its log; claimx tables fold does it now",
                    )
                )
        return found

    def _strangers(self, table: Table) -> list[tuple[str, str]]:
        """Return columns and partitions that are not as declared, and what to do about each."""
        apart = "move the table away, or set another path for it"
        return [
            (line, apart)
            for line in self.differences(table)
            if "in the lake, declared" in line or line.startswith("partitioned")
        ]

    def _state(self, snapshot: DeltaTable, table: Table) -> TableState:
        actions = actions_of(snapshot)
        newest, protocol = snapshot.history(1), snapshot.protocol()
        return TableState(
            name=table.name,
            path=self._handles[table.name].uri,
            version=snapshot.version(),
            rows=sum(int(action["num_records"] or 0) for action in actions),
            files=len(actions),
            bytes=sum(int(action["size_bytes"]) for action in actions),
            pieces=len(pieces_of(actions, table.key[0], self._sizes.piece)),
            waiting=self._backlog(table).changes,
            last_commit=_commit(newest[0])["at"] if newest else None,
            reader=protocol.min_reader_version,
            writer=protocol.min_writer_version,
        )

    def _look(self, table: Table, look: Callable[[DeltaTable], T]) -> T | None:
        return read_newest(table.name, self._handles[table.name], look)


def _commit(entry: Mapping[str, Any]) -> dict[str, Any]:
    at = entry.get("timestamp")
    moment = None if at is None else datetime.fromtimestamp(at / _MILLISECONDS, UTC)
    return {
        "version": entry.get("version"),
        "at": moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None,
        "operation": entry.get("operation"),
        "metrics": entry.get("operationMetrics") or {},
    }


def _differences(snapshot: DeltaTable, table: Table) -> list[str]:
    stored, declared = whole_schema(snapshot), arrow_schema(table)
    found = []
    for field in declared:
        if field.name not in stored.names:
            found.append(f"{field.name}: not in the lake; the writer adds it when it starts")
        elif stored.field(field.name).type != field.type:
            there = stored.field(field.name).type
            found.append(f"{field.name}: {there} in the lake, declared {field.type}")
    found += [f"{name}: not declared; kept as it is" for name in _others(stored, declared)]
    protocol = snapshot.protocol()
    if (protocol.min_reader_version, protocol.min_writer_version) > (READER, WRITER):
        asks = f"{protocol.min_reader_version}/{protocol.min_writer_version}"
        features = [*(protocol.reader_features or []), *(protocol.writer_features or [])]
        what = f" ({', '.join(sorted(set(features)))})" if features else ""
        found.append(
            f"asks for protocol {asks}{what}, declared {READER}/{WRITER}: not every reader can"
        )
    partitions = tuple(snapshot.metadata().partition_columns)
    if partitions != table.partition_by:
        found.append(f"partitioned by {partitions}, declared {table.partition_by}")
    return found


def _others(stored: pa.Schema, declared: pa.Schema) -> list[str]:
    return [name for name in stored.names if name not in declared.names]
