"""A piece of a table written anew with what has been said of it: read, decided, exchanged."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from claimx.adapters.lake.commit import Decide, Plan
from claimx.adapters.lake.files import batches_of, write_file
from claimx.adapters.lake.schema import from_arrow, to_arrow
from claimx.domain.changes import Values
from claimx.domain.columns import Table
from claimx.domain.upsert import Key

Paths: TypeAlias = Iterable[str]


def rows_of(snapshot: DeltaTable, schema: pa.Schema, paths: Paths) -> pa.Table:
    """Return all rows of these files."""
    batches = [batch for path in paths for batch in batches_of(snapshot, path, schema)]
    return pa.Table.from_batches(batches, schema)


def patched(
    table: Table, rows: pa.Table, keys: Collection[Key], decide: Decide
) -> tuple[pa.Table, Plan]:
    """
    Return *rows* with what *decide* makes of those with *keys*, and its plan.

    Rows that it leaves alone stay as they are, and so do columns that *table* does not declare.
    """
    first = pa.array(sorted({key[0] for key in keys}), pa.string())
    met = pc.is_in(rows.column(table.key[0]), value_set=first)
    touched = rows.filter(met)
    at = _positions(table, touched, keys)
    found = from_arrow(table, touched.take(pa.array(at.values(), pa.int64())))
    stored = dict(zip(at, found, strict=True))
    plan = decide(stored)
    if not plan.inserted and not plan.updated:
        return rows, plan
    changed = [at[_key(table, row)] for row in plan.updated]
    kept = sorted(set(range(touched.num_rows)) - set(changed))
    parts = [
        rows.filter(pc.invert(met)),
        touched.take(pa.array(kept, pa.int64())),
        _whole(table, plan.updated, touched.take(pa.array(changed, pa.int64()))),
        _whole(table, plan.inserted, rows.schema.empty_table()),
    ]
    return pa.concat_tables(parts), plan


def written(snapshot: DeltaTable, table: Table, rows: pa.Table, piece_rows: int) -> list[AddAction]:
    """Write *rows* as new files of up to half more than *piece_rows*, cut between two keys."""
    if rows.num_rows <= piece_rows * 3 // 2:
        return [write_file(snapshot, table, rows)] if rows.num_rows else []
    ordered = rows.sort_by(table.key[0])
    files = []
    for low, high in cuts(ordered.column(table.key[0]), piece_rows):
        files.append(write_file(snapshot, table, ordered.slice(low, high - low)))
    return files


def cuts(keys: pa.ChunkedArray[Any], size: int) -> list[tuple[int, int]]:
    """Return ranges of positions of about *size* in sorted *keys*, none within rows of one key."""
    count, parts = len(keys), max(1, round(len(keys) / size))
    bounds = [0]
    for part in range(1, parts):
        at = count * part // parts
        while at < count and keys[at] == keys[at - 1]:
            at += 1
        if bounds[-1] < at < count:
            bounds.append(at)
    return list(zip(bounds, [*bounds[1:], count], strict=True))


def _positions(table: Table, rows: pa.Table, keys: Collection[Key]) -> dict[Key, int]:
    columns = [rows.column(name).to_pylist() for name in table.key]
    return {key: at for at, key in enumerate(zip(*columns, strict=True)) if key in keys}


def _key(table: Table, row: Values) -> Key:
    return tuple(row[name] for name in table.key)


def _whole(table: Table, rows: Sequence[Values], before: pa.Table) -> pa.Table:
    """Return rows with the columns that others have added, as they stood *before* if they did."""
    declared = to_arrow(table, rows)
    columns: list[Any] = []
    for field in before.schema:
        if field.name in declared.column_names:
            columns.append(declared.column(field.name).cast(field.type))
        elif before.num_rows:
            columns.append(before.column(field.name))
        else:
            columns.append(pa.nulls(len(rows), field.type))
    return pa.Table.from_arrays(columns, schema=before.schema)
