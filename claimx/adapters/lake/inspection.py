"""What an operator asks of the tables: how large they are, how they lie, what they differ in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from deltalake import DeltaTable

from claimx.adapters.lake.differences import differences
from claimx.adapters.lake.handles import Handle, read_newest
from claimx.adapters.lake.layout import Sizes, pieces_of
from claimx.adapters.lake.readers import diagnoses
from claimx.adapters.lake.scan import actions_of
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

    def absent(self, tables: Iterable[Table]) -> dict[str, str]:
        """Return where those of *tables* should be that are not there, by name."""
        return {
            table.name: self._handles[table.name].uri
            for table in tables
            if self._look(table, lambda _: True) is None
        }

    def history(self, table: Table, limit: int) -> list[dict[str, Any]]:
        """Return the newest commits, the newest first: version, time, operation and its numbers."""
        found = self._look(table, lambda snapshot: snapshot.history(limit))
        return [_commit(entry) for entry in found or []]

    def differences(self, table: Table) -> list[str]:
        """Return what a table differs in from its declaration; nothing when it is not there."""
        found = self._look(table, lambda snapshot: differences(snapshot, table)) or []
        return [one.text for one in found]

    def diagnoses(self, table: Table, now: float) -> list[Diagnosis]:
        """Return what is wrong with a table at *now* (epoch seconds); see `readers.diagnoses`."""
        most_rows = self._sizes.direct
        found = self._look(table, lambda snapshot: diagnoses(snapshot, table, most_rows))
        if found is None:
            return [
                Diagnosis(
                    table.name,
                    f"is not at {self._handles[table.name].uri}",
                    "a writer makes it when it starts, so none has, or the path is another",
                    "see that a writer runs; claimx config show has the paths",
                )
            ]
        backlog = Backlog() if table.insert_only else self._backlog(table)
        waited = 0.0 if backlog.oldest is None else now - backlog.oldest / MICROS_PER_SECOND
        if waited <= _OVERDUE * delay_seconds(backlog.rows):
            return found
        late = Diagnosis(
            table.name,
            f"has changes that wait beside it for {waited:,.0f} s: {backlog.changes:,}",
            "a plain SELECT does not show them",
            "see that a writer runs, and its log; claimx tables fold does it now",
        )
        return [*found, late]

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
