"""Reading a table: only the files that may hold what is asked for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from pyarrow.dataset import FileSystemDataset

from claimx.adapters.lake.schema import arrow_schema
from claimx.domain.tables import Table


def scan(
    snapshot: DeltaTable,
    table: Table,
    *,
    columns: Sequence[str] | None = None,
    condition: Any = None,
    keys: Mapping[str, Sequence[str]] | None = None,
    days: Collection[date] = (),
) -> pa.Table:
    """
    Return *columns* (all declared ones by default) of the rows that meet *condition*.

    *keys* gives the sorted values wanted of key columns and *days* the partitions wanted, both to
    skip files by the log's statistics; only *condition* filters rows.
    """
    stored = {field.name for field in snapshot.schema().fields}
    schema = pa.schema([field for field in arrow_schema(table) if field.name in stored])
    base: Any = snapshot.to_pyarrow_dataset(schema=schema)
    day_column = table.partition_by[0] if table.partition_by else None
    fragments = []
    # the statistics come without types that Arrow could compare, so they are compared here,
    # and each file is known to Arrow by its partition alone
    for action in pa.table(snapshot.get_add_actions(flatten=True)).to_pylist():
        day: Any = action[f"partition.{day_column}"] if day_column else None
        if (days and day not in days) or not _may_hold(action, keys or {}):
            continue
        expression = (
            None if day_column is None else pc.field(day_column) == pa.scalar(day, pa.date32())
        )
        fragments.append(
            base.format.make_fragment(
                action["path"], filesystem=base.filesystem, partition_expression=expression
            )
        )
    dataset = FileSystemDataset(fragments, schema, base.format, base.filesystem)
    names = [name for name in columns or table.column_names if name in stored]
    return dataset.to_table(columns=names, filter=condition)


def one_of(name: str, values: Sequence[str]) -> Any:
    """
    Return the condition that a text column holds one of *values*.

    Files that a merge wrote give their texts another Arrow type than appended ones, and Arrow
    cannot compare the two when it tries to skip row groups. Behind a call it does not try.
    """
    call: Any = pc.coalesce  # its types know only arrays
    return call(pc.field(name), pc.scalar("")).isin(pa.array(values, pa.string()))


def _may_hold(action: Mapping[str, Any], keys: Mapping[str, Sequence[str]]) -> bool:
    """Tell whether a file's statistics leave room for one of the values of every key column."""
    for name, values in keys.items():
        low, high = action.get(f"min.{name}"), action.get(f"max.{name}")
        if low is None or high is None:
            continue
        position = bisect_left(values, low)
        if position == len(values) or values[position] > high:
            return False
    return True
