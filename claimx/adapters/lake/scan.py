"""Reading a table: only the files that may hold what is asked for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler
from pyarrow.dataset import (
    FileSystemDataset,
    ParquetFileFormat,
    ParquetFragmentScanOptions,
    ParquetReadOptions,
)
from pyarrow.fs import LocalFileSystem, PyFileSystem, SubTreeFileSystem

from claimx.adapters.lake.handles import folder_of
from claimx.adapters.lake.schema import arrow_schema
from claimx.domain.columns import Table
from claimx.domain.times import EARLIEST, LATEST, Micros, from_datetime

_STATISTICS_APART: Micros = 1_000_000  # the log's are cut to milliseconds
_READ_AHEAD = ParquetFragmentScanOptions(pre_buffer=True)


@dataclass(frozen=True, slots=True)
class Span:
    """Rows with after < *column* <= until, and those that are null there."""

    column: str
    after: Micros
    until: Micros

    @classmethod
    def over(cls, column: str, after: Micros | None, until: Micros | None) -> Self | None:
        """Return the span with open ends where None is given, None when both are."""
        if after is None and until is None:
            return None
        return cls(column, EARLIEST if after is None else after, LATEST if until is None else until)

    @property
    def condition(self) -> Any:
        """The condition that filters rows."""
        moment: Any = pc.field(self.column)
        zone = pa.timestamp("us", tz="UTC")
        inside = (moment > pa.scalar(self.after, zone)) & (moment <= pa.scalar(self.until, zone))
        return inside | moment.is_null()

    def may_hold(self, action: Mapping[str, Any]) -> bool:
        """Tell whether a file's statistics leave room for such a row."""
        low, high = action.get(f"min.{self.column}"), action.get(f"max.{self.column}")
        nulls = action.get(f"null_count.{self.column}")
        if low is None or high is None or nulls is None or nulls:
            return True
        return (
            from_datetime(high) + _STATISTICS_APART > self.after
            and from_datetime(low) - _STATISTICS_APART <= self.until
        )


def in_span(row: Mapping[str, Any], span: Span | None) -> bool:
    """Tell whether a row is in a span; everything is in none."""
    moment = row[span.column] if span else None
    return span is None or moment is None or span.after < moment <= span.until


def scan(
    snapshot: DeltaTable,
    table: Table,
    *,
    columns: Sequence[str] | None = None,
    condition: Any = None,
    keys: Mapping[str, Sequence[str]] | None = None,
    partitions: Container[Any] | None = None,
    files: Collection[str] | None = None,
    span: Span | None = None,
) -> pa.Table:
    """
    Return *columns* (all declared ones by default) of the rows that meet *condition*.

    *files* are the paths wanted,
    *keys* gives the sorted values wanted of key columns, *partitions* those and *span* the times
    wanted, all to skip files by the log's statistics; only *condition* filters rows.
    """
    dataset = _dataset(snapshot, table, keys or {}, partitions, span, files)
    names = [name for name in columns or table.column_names if name in dataset.schema.names]
    # of the rows that are read ahead only those that meet the condition stay
    return dataset.to_table(columns=names, filter=condition, batch_readahead=4)


def values(
    snapshot: DeltaTable, table: Table, column: str, condition: Any, span: Span | None = None
) -> Iterator[pa.Array[Any]]:
    """
    Yield one column of the rows that meet *condition* in pieces, never the whole at once.

    *span* skips files, and does not filter.
    """
    dataset = _dataset(snapshot, table, {}, None, span)
    batches = dataset.to_batches(columns=[column], filter=condition, batch_readahead=2)
    for batch in batches:
        if batch.num_rows:
            yield batch.column(0)


def actions_of(snapshot: DeltaTable) -> list[dict[str, Any]]:
    """Return the table's files: path, size_bytes, num_records and min, max of columns."""
    return pa.table(snapshot.get_add_actions(flatten=True)).to_pylist()


def _dataset(
    snapshot: DeltaTable,
    table: Table,
    keys: Mapping[str, Sequence[str]],
    partitions: Container[Any] | None,
    span: Span | None,
    files: Collection[str] | None = None,
) -> FileSystemDataset:
    stored = {field.name for field in snapshot.schema().fields}
    schema = pa.schema([field for field in arrow_schema(table) if field.name in stored])
    filesystem = filesystem_of(snapshot)
    # see `claimx.adapters.lake.files.opened` for the times
    parquet = ParquetFileFormat(
        read_options=ParquetReadOptions(dictionary_columns=[], coerce_int96_timestamp_unit="us"),
        default_fragment_scan_options=_READ_AHEAD,
    )
    partition_by = table.partition_by[0] if table.partition_by else None
    fragments = []
    # the statistics come without types that Arrow could compare, so they are compared here,
    # and each file is known to Arrow by its partition alone
    for action in actions_of(snapshot):
        partition: Any = action[f"partition.{partition_by}"] if partition_by else None
        if partitions is not None and partition not in partitions:
            continue
        if not may_hold(action, keys):
            continue
        if span is not None and not span.may_hold(action):
            continue
        if files is not None and action["path"] not in files:
            continue
        expression: Any = None
        if partition_by:
            value = pa.scalar(partition, schema.field(partition_by).type)
            expression = pc.field(partition_by) == value
        fragments.append(
            parquet.make_fragment(
                action["path"], filesystem=filesystem, partition_expression=expression
            )
        )
    return FileSystemDataset(fragments, schema, parquet, filesystem)


def filesystem_of(snapshot: DeltaTable) -> Any:
    """
    Return what the files are read through: Arrow's own for folders, deltalake's for URIs.

    deltalake's calls back into Python from Arrow's threads, which is slower and, should the
    process end within the same milliseconds, aborts it.
    """
    folder = folder_of(snapshot.table_uri)
    if folder:
        return SubTreeFileSystem(str(folder), LocalFileSystem())
    # as deltalake's own dataset does, which refuses any table with a feature that it does not know:
    # what deletes rows or maps columns is for those to see to who mind (`check_exchangeable`)
    table, options = snapshot._table, snapshot._storage_options  # noqa: SLF001 - see above
    handler: Any = DeltaStorageHandler.from_table(table, options, table.get_add_file_sizes())
    return PyFileSystem(handler)


def one_of(name: str, wanted: Sequence[str]) -> Any:
    """Return the condition that a text column holds one of *wanted*."""
    return text(name).isin(pa.array(wanted, pa.string()))


def text(name: str) -> Any:
    """
    Return a text column for a condition, a null as empty text.

    Files that delta-rs wrote may give their texts another Arrow type than ours, and Arrow
    cannot compare the two when it tries to skip row groups. Behind a call it does not try.
    """
    call: Any = pc.coalesce  # its types know only arrays
    return call(pc.field(name), pc.scalar(""))


def may_hold(action: Mapping[str, Any], keys: Mapping[str, Sequence[str]]) -> bool:
    """Tell whether a file's statistics leave room for one of the sorted values of every column."""
    for name, values in keys.items():
        low, high = action.get(f"min.{name}"), action.get(f"max.{name}")
        if low is None or high is None:
            continue
        position = bisect_left(values, low)
        if position == len(values) or values[position] > high:
            return False
    return True
