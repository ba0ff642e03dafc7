"""Rows of a declared table to Arrow and back, and what a new Delta table is created with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from claimx.domain.changes import Change, Values
from claimx.domain.columns import Column, ColumnType, Rule, Table
from claimx.domain.refusal import refusal

_TYPES: dict[ColumnType, Any] = {
    ColumnType.TEXT: pa.string(),
    ColumnType.INTEGER: pa.int64(),
    ColumnType.DOUBLE: pa.float64(),
    ColumnType.BOOLEAN: pa.bool_(),
    # always with a zone: without one the SQL endpoint of Fabric drops the column in silence
    ColumnType.TIME: pa.timestamp("us", tz="UTC"),
    ColumnType.DAY: pa.date32(),
}
READER, WRITER = 1, 2
"""The versions of the Delta protocol that every reader has, the SQL endpoint of Fabric too."""

_YEAR_1 = -62_135_596_800_000_000
_YEAR_10000 = 253_402_300_800_000_000
_SKIPPING_TIMES = {"ingested_at", "last_enriched_at", "updated_at", "written_at"}


class UnfitError(Exception):
    """Some row does not fit the declared types; which, `refusals` finds out."""


def arrow_schema(table: Table) -> pa.Schema:
    """Return the declared schema, every column nullable as Delta's other writers expect."""
    return pa.schema([arrow_field(column) for column in table.columns])


def arrow_field(column: Column) -> pa.Field[Any]:
    """Return one column's field."""
    return pa.field(column.name, _TYPES[column.type])


def properties(table: Table) -> dict[str, str]:
    """
    Return the table properties: protocol 1/2, short logs, statistics on keys and times alone.

    Statistics on every column make each commit and each open slower, and only keys (flushes) and
    times (readers) skip files. The log is kept two days; replaced files half a day, for readers
    that are still at it: a table that is written every few seconds replaces gigabytes a day.
    """
    return {
        "delta.checkpointInterval": "20",
        "delta.logRetentionDuration": "interval 2 days",
        "delta.deletedFileRetentionDuration": "interval 12 hours",
        "delta.dataSkippingStatsColumns": ",".join(skipping(table)),
    }


def skipping(table: Table) -> list[str]:
    """Return the columns whose statistics skip files."""
    return [
        column.name
        for column in table.columns
        if (column.rule is Rule.KEY or column.name in _SKIPPING_TIMES)
        and column.name not in table.partition_by
    ]


def plain_type(type_: pa.DataType) -> pa.DataType:
    """Return the type that our columns have for what deltalake may give in another form."""
    return pa.string() if type_ in {pa.large_string(), pa.string_view()} else type_


def to_arrow(table: Table, rows: Sequence[Values]) -> pa.Table:
    """Build the batch column by column; raises UnfitError when a value does not fit."""
    try:
        of_row = itemgetter(*table.column_names)
        columns = zip(*map(of_row, rows), strict=True) if rows else [()] * len(table.columns)
        arrays = [_array(*one) for one in zip(table.columns, columns, strict=True)]
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise UnfitError(table.name) from error
    return pa.Table.from_arrays(arrays, schema=arrow_schema(table))


def from_arrow(table: Table, batch: pa.Table) -> list[Values]:
    """Return rows with times as `Micros` and days as ISO text; absent columns are null."""
    names = [column.name for column in table.columns]
    columns = [
        _values(batch.column(column.name), column.type)
        if column.name in batch.column_names
        else [None] * batch.num_rows
        for column in table.columns
    ]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def refusals(table: Table, changes: Sequence[Change]) -> list[tuple[Change, str]]:
    """Find the changes that cannot be stored, each with its reason; the slow path."""
    found = []
    for change in changes:
        reason = refusal(table, change) or _arrow_refusal(table, change)
        if reason is not None:
            found.append((change, reason))
    return found


def _arrow_refusal(table: Table, change: Change) -> str | None:
    for name, value in change.values.items():
        try:
            _array(table.column(name), [value])
        except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
            return f"{table.name}.{name}: cannot be stored ({type(error).__name__})"
    return None


def _array(column: Column, values: Sequence[Any]) -> Any:
    if column.type is ColumnType.DAY:
        values = [value if value is None else date.fromisoformat(value) for value in values]
    if column.type is ColumnType.DOUBLE:
        values = [float(value) if isinstance(value, int) else value for value in values]
    array: Any = pa.array(values, _TYPES[column.type])
    if column.type is ColumnType.TIME:
        bounds: Any = pc.min_max(array.cast(pa.int64())).as_py()
        if (
            bounds["min"] is not None
            and not _YEAR_1 <= bounds["min"] <= bounds["max"] < _YEAR_10000
        ):
            raise OverflowError(column.name)
    return array


def _values(column: Any, type_: ColumnType) -> list[Any]:
    if type_ is ColumnType.TIME:
        return list(column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_pylist())
    if type_ is ColumnType.DAY:
        return [value if value is None else value.isoformat() for value in column.to_pylist()]
    return list(column.to_pylist())
