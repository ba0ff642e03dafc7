"""Which tables may be written to: as they are declared, and what is in their files is in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from claimx.adapters.lake.schema import READER
from claimx.domain.columns import ColumnType, Table
from claimx.domain.errors import NotAllowed

_CONSTRAINT = "delta.constraints."
_RULES = ("delta.invariants", "delta.generationExpression", "delta.identity.")


_PLAIN = re.compile(r"[A-Za-z0-9_.=/-]*")
_TYPES = {
    ColumnType.TEXT: "string",
    ColumnType.INTEGER: "long",
    ColumnType.DOUBLE: "double",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.TIME: "timestamp",
    ColumnType.DAY: "date",
}
"""Their names in Delta."""


def check_declared(snapshot: DeltaTable, table: Table) -> None:
    """
    Raise NotAllowed where a declared column has another type in the lake, or partitions differ.

    A flush asks each time: files exchanged in a table that somebody has partitioned meanwhile would
    leave that column empty in all their rows. Columns that are missing are no difference.
    """
    stored = {field.name: field.type for field in snapshot.schema().fields}
    for column in table.columns:
        found = stored.get(column.name)
        if found is not None and getattr(found, "type", "") != _TYPES[column.type]:
            raise NotAllowed(
                f"{table.name}.{column.name} is {getattr(found, 'type', '')} in the lake but "
                f"declared {_TYPES[column.type]}: move that table away, or set another path for it"
            )
    partitions = tuple(snapshot.metadata().partition_columns)
    if partitions != table.partition_by:
        raise NotAllowed(
            f"{table.name} is partitioned by {partitions or 'nothing'} in the lake but declared "
            f"by {table.partition_by or 'nothing'}: move that table away, or set another path"
        )


def check_exchangeable(snapshot: DeltaTable, table: Table) -> None:
    """
    Raise NotAllowed where rows of *table* cannot be read from its files and written anew.

    As `check_declared` does, and:
    Rows that somebody deleted by a vector would come back, and columns that are mapped to others
    be lost. Rules that others gave the table (constraints, columns that are never null or made by
    an expression) nobody would hold us to: an exchange of files does not look at rows.
    """
    check_declared(snapshot, table)
    found = ", ".join(sorted({*_hidden(snapshot), *rules_of(snapshot)}))
    if found:
        raise NotAllowed(f"{table.name}: has {found}, so its rows cannot be replaced safely")


def check_names(table: Table, paths: Iterable[str]) -> None:
    """
    Raise NotAllowed where the log may name one of these files in more than one way.

    deltalake writes the names of removed files as URIs, whatever the log has: of a file that is
    named in another way there it would remove nothing, and its rows would be there twice.
    """
    if odd := sum(1 for path in paths if not _PLAIN.fullmatch(path)):
        raise NotAllowed(
            f"{table.name}: has files with letters or signs in their names that may be written in "
            f"two ways ({odd}), so they cannot be replaced safely: let whoever made them rewrite "
            "the table"
        )


def _hidden(snapshot: DeltaTable) -> Iterator[str]:
    protocol = snapshot.protocol()
    if protocol.min_reader_version <= READER:
        return
    if mapping_of(snapshot) != "none":
        yield "columnMapping"
    if "deletionVectors" in (protocol.reader_features or ()):
        vectors: Any = snapshot.deletion_vectors()
        if pa.table(vectors).num_rows:
            yield "deletionVectors"


def mapping_of(snapshot: DeltaTable) -> str:
    """Return how columns are mapped to others: none, name or id."""
    return snapshot.metadata().configuration.get("delta.columnMapping.mode", "none")


def rules_of(snapshot: DeltaTable) -> Iterator[str]:
    """Yield what others have set that every new row would have to keep to."""
    if "rowTracking" in (snapshot.protocol().writer_features or ()):
        yield "rowTracking"
    configuration = snapshot.metadata().configuration
    if configuration.get("delta.appendOnly", "false").lower() == "true":
        yield "delta.appendOnly"
    yield from (name for name in configuration if name.startswith(_CONSTRAINT))
    for field in snapshot.schema().fields:
        if not field.nullable:
            yield f"{field.name} NOT NULL"
        metadata: Mapping[str, Any] = field.metadata
        if metadata:
            yield from (f"{field.name} {name}" for name in metadata if name.startswith(_RULES))
