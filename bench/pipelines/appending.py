"""Appends of 2000 rows to the nine tables, by one writer; nothing is merged, nothing is durable."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from claimx.adapters.lake.schema import arrow_schema, properties
from claimx.domain.columns import ColumnType, Table
from claimx.domain.tables import TABLES
from pipelines.rows import Found, Row

FLUSH_ROWS = 2000


class Appender:
    """
    Buffers rows by table and appends them below *lake*, where it creates the tables first.

    Not for several threads.
    """

    def __init__(self, lake: Path) -> None:
        self._lake = lake
        self._rows: dict[str, list[Row]] = defaultdict(list)
        for table in TABLES.values():
            DeltaTable.create(
                str(lake / table.name),
                arrow_schema(table),
                partition_by=list(table.partition_by),
                configuration=properties(table),
            )

    def add(self, found: Found) -> None:
        """Take rows in, and append those of every table that has enough of them."""
        for name, row in found:
            rows = self._rows[name]
            rows.append(row)
            if len(rows) >= FLUSH_ROWS:
                self._append(name)

    def flush(self) -> None:
        """Append all that is left."""
        for name in list(self._rows):
            self._append(name)

    def _append(self, name: str) -> None:
        rows = self._rows.pop(name)
        table = TABLES[name]
        write_deltalake(str(self._lake / name), batch(table, rows), mode="append")


def batch(table: Table, rows: list[Row]) -> pa.Table:
    """Return rows as Arrow; what a row does not name is null."""
    arrays: list[Any] = []
    schema = arrow_schema(table)
    for column, field in zip(table.columns, schema, strict=True):
        name = column.name
        values: Any = pa.array(
            [row.get(name) for row in rows],
            pa.string() if column.type is ColumnType.DAY else field.type,
        )
        arrays.append(values.cast(field.type))
    return pa.Table.from_arrays(arrays, schema=schema)
