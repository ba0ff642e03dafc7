"""What must lie in the nine tables once every event is through, and how a lake is held to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from claimx.domain.tables import TABLES
from claimx.sandbox.entities import MediaFile
from claimx.sandbox.matchers import (
    Matcher,
    matches,
)

if TYPE_CHECKING:
    from claimx.sandbox.world import World

Key: TypeAlias = tuple[str, ...]
Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which the lake is not the truth; *column* is empty for a whole row."""

    table: str
    key: Key
    column: str
    expected: Any
    actual: Any
    problem: str

    def __str__(self) -> str:
        where = f"{self.table}[{', '.join(self.key)}]" + (f".{self.column}" if self.column else "")
        if not self.column:
            return f"{where}: {self.problem}"
        return f"{where}: {self.problem}: expected {self.expected!r}, found {self.actual!r}"


@dataclass(frozen=True, slots=True)
class DeadEvent:
    """An event that must end among the dead letters; *event_id* as stored."""

    event_id: str
    categories: tuple[str, ...]
    stages: tuple[str, ...]
    note: str


@dataclass(slots=True)
class Truth:
    """
    The truth about a world.

    *tables* is table -> key -> column -> value or matcher; *unhandled* and *enriched* are event
    ids, *dead* the events and *failed* the media (with their possible categories) that fail,
    *stored* the files that must lie in OneLake by media id.
    """

    tables: dict[str, dict[Key, Row]] = field(default_factory=dict)
    enriched: set[str] = field(default_factory=set)
    unhandled: set[str] = field(default_factory=set)
    shadowed: set[str] = field(default_factory=set)
    dead: dict[str, DeadEvent] = field(default_factory=dict)
    failed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    stored: dict[str, MediaFile] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Return how many rows each table must have, and how many events end in each way."""
        return {
            **{name: len(rows) for name, rows in self.tables.items()},
            "events enriched": len(self.enriched),
            "events unhandled": len(self.unhandled),
            "events dead": len(self.dead),
            "media completed": len(self.stored),
            "media failed": len(self.failed),
        }


def compare(
    expected: Mapping[str, Mapping[Key, Row]], tables: Mapping[str, list[Row]]
) -> list[Difference]:
    """Return missing, surplus and doubled rows, missing columns and wrong values."""
    found: list[Difference] = []
    for name, wanted in expected.items():
        found.extend(_compare_table(name, wanted, tables.get(name, [])))
    return found


def _compare_table(name: str, wanted: Mapping[Key, Row], rows: list[Row]) -> Iterator[Difference]:
    key_columns = TABLES[name].key
    actual: dict[Key, Row] = {}
    for row in rows:
        key = tuple(str(row.get(column)) for column in key_columns)
        if key in actual:
            yield Difference(name, key, "", None, None, "doubled row")
        actual[key] = row
    for key in sorted(wanted.keys() - actual.keys()):
        yield Difference(name, key, "", wanted[key], None, "missing row")
    for key in sorted(actual.keys() - wanted.keys()):
        yield Difference(name, key, "", None, actual[key], "surplus row")
    for key in sorted(wanted.keys() & actual.keys()):
        for column, value in wanted[key].items():
            if column not in actual[key]:
                yield Difference(name, key, column, value, None, "missing column")
            elif not matches(value, actual[key][column]):
                yield Difference(name, key, column, value, actual[key][column], "wrong value")


def verify_files(world: World, tables: Mapping[str, list[Row]], root: Path) -> list[Difference]:
    """Check the media below *root*: each completed file is there whole, and no other is."""
    found: list[Difference] = []
    table, seen = "claimx_attachments", set()
    for row in tables.get(table, []):
        key = (str(row["media_id"]),)
        item = world.truth.stored.get(key[0])
        if row["status"] != "completed" or item is None:
            continue
        path = root / str(row["blob_path"])
        seen.add(path)
        if not path.is_file():
            found.append(Difference(table, key, "blob_path", str(path), None, "missing file"))
        elif path.read_bytes() != item.content():
            found.append(
                Difference(table, key, "blob_path", item.size, path.stat().st_size, "wrong file")
            )
    found.extend(
        Difference(table, (path.name,), "", None, None, f"surplus file {path}")
        for path in sorted(root.rglob("*"))
        if path.is_file() and path not in seen
    )
    return found


def read_lake(
    folder: Path | str, storage_options: dict[str, str] | None = None
) -> dict[str, list[Row]]:
    """
    Read the nine tables below *folder* (or an ``abfss://`` address) with deltalake.

    A table that does not exist is empty. Never call it in a process that forks later.
    """
    from deltalake import DeltaTable

    tables: dict[str, list[Row]] = {}
    for name in TABLES:
        place = f"{str(folder).rstrip('/')}/{name}"
        if not DeltaTable.is_deltatable(place, storage_options):
            tables[name] = []
            continue
        tables[name] = (
            DeltaTable(place, storage_options=storage_options).to_pyarrow_table().to_pylist()
        )
    return tables


def as_json(truth: Truth) -> dict[str, Any]:
    """Return the truth for ``GET /sandbox/truth``: matchers as their names."""
    return {
        "counts": truth.counts(),
        "dead": {
            key: {"categories": dead.categories, "stages": dead.stages, "note": dead.note}
            for key, dead in truth.dead.items()
        },
        "unhandled": sorted(truth.unhandled),
        "failed_media": truth.failed,
        "tables": {
            name: [
                {
                    column: repr(value) if isinstance(value, Matcher) else value
                    for column, value in row.items()
                }
                for row in rows.values()
            ]
            for name, rows in truth.tables.items()
        },
    }
