"""A piece of a table written anew with what has been said of it: read, decided, exchanged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from claimx.adapters.lake.files import batches_of, discard, whole_schema, write_file
from claimx.adapters.lake.handles import ColumnsGone
from claimx.adapters.lake.keys import met, sets_of, wanted_of
from claimx.adapters.lake.known_rows import KnownRows
from claimx.adapters.lake.plan import Decide, Plan
from claimx.adapters.lake.scan import filesystem_of
from claimx.adapters.lake.schema import from_arrow, to_arrow
from claimx.domain.changes import Values
from claimx.domain.columns import Table
from claimx.domain.upsert import Key

_Place: TypeAlias = tuple[int, int]  # the number of a part, and where in it


def parts_of(
    snapshot: DeltaTable, paths: Iterable[str], known: KnownRows | None = None
) -> list[pa.Table]:
    """
    Return the rows of each file, with all columns of the table's own schema.

    Files that are *known* are not read. Of no file, one part without rows. For a table that is
    `check_exchangeable`.
    """
    schema, filesystem = whole_schema(snapshot), filesystem_of(snapshot)
    parts = []
    for path in paths:
        rows = known.of(path, schema) if known else None
        if rows is None:
            rows = pa.Table.from_batches(batches_of(filesystem, path, schema), schema)
        parts.append(rows)
    return parts or [schema.empty_table()]


@dataclass(frozen=True, slots=True)
class Patched:
    """
    What a plan makes of rows that lie in parts.

    *kept* are the parts without the rows that are replaced, *changed* the numbers of those that had
    any; *new* has the replacements and the new rows.
    """

    plan: Plan
    kept: list[pa.Table]
    changed: list[int]
    new: pa.Table


def patched(
    table: Table, parts: Sequence[pa.Table], keys: Collection[Key], decide: Decide
) -> Patched:
    """
    Let *decide* plan, given the rows of *keys* in *parts*, which have one schema.

    Rows that it leaves alone stay as they are, and so do columns that *table* does not declare. A
    key whose row stands there twice, which nothing of ours writes, has one once it is replaced.
    """
    sets = sets_of(wanted_of(table, keys))
    masks = [met([rows.column(name) for name in table.key], sets) for rows in parts]
    touched = [rows.filter(mask) for rows, mask in zip(parts, masks, strict=True)]
    at = _positions(table, touched, frozenset(keys))
    shown = [places[-1] for places in at.values()]
    found = from_arrow(table, _taken(touched, shown, parts[0].schema))
    plan = decide(dict(zip(at, found, strict=True)))
    if plan.empty:
        return Patched(plan, list(parts), [], parts[0].schema.empty_table())
    updated = [at[_key(table, row)] for row in plan.updated]
    replaced: dict[int, set[int]] = {}
    for places in updated:
        for number, position in places:
            replaced.setdefault(number, set()).add(position)
    kept = list(parts)
    for number, positions in replaced.items():
        left = [one for one in range(touched[number].num_rows) if one not in positions]
        untouched = parts[number].filter(pc.invert(masks[number]))
        stays = touched[number].take(pa.array(left, pa.int64()))
        kept[number] = pa.concat_tables([untouched, stays])
    before = partial(_taken, touched, [places[-1] for places in updated], parts[0].schema)
    new = _whole(table, plan, before, parts[0].schema)
    return Patched(plan, kept, sorted(replaced), new)


def written(snapshot: DeltaTable, table: Table, rows: pa.Table, piece_rows: int) -> list[AddAction]:
    """
    Write *rows* as new files of up to half more than *piece_rows*, cut between two keys.

    What fails half-way leaves nothing behind, as in `write_file`.
    """
    if rows.num_rows <= piece_rows * 3 // 2:
        return [write_file(snapshot, table, rows)] if rows.num_rows else []
    ordered = rows.sort_by(table.key[0])
    files: list[AddAction] = []
    try:
        for low, high in cuts(ordered.column(table.key[0]), piece_rows):
            files.append(write_file(snapshot, table, ordered.slice(low, high - low)))
    except BaseException:
        discard(snapshot, (one.path for one in files))
        raise
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


def _positions(
    table: Table, parts: Sequence[pa.Table], keys: frozenset[Key]
) -> dict[Key, list[_Place]]:
    found: dict[Key, list[_Place]] = {}
    for number, rows in enumerate(parts):
        columns = [rows.column(name).to_pylist() for name in table.key]
        for position, key in enumerate(zip(*columns, strict=True)):
            if key in keys:
                found.setdefault(key, []).append((number, position))
    return found


def _taken(parts: Sequence[pa.Table], places: Sequence[_Place], schema: pa.Schema) -> pa.Table:
    """Return the rows in these places, in their order."""
    starts = [0, *accumulate(rows.num_rows for rows in parts)]
    positions = [starts[number] + position for number, position in places]
    whole = pa.concat_tables([*parts, schema.empty_table()])
    return whole.take(pa.array(positions, pa.int64()))


def _key(table: Table, row: Values) -> Key:
    return tuple(row[name] for name in table.key)


def _whole(table: Table, plan: Plan, before: Callable[[], pa.Table], schema: pa.Schema) -> pa.Table:
    """
    Return the rows to write with the columns of *schema*.

    Those that others have added stay as they stood *before* in rows that are replaced. Raises
    ColumnsGone when there is no place for a declared one.
    """
    declared = to_arrow(table, [*plan.updated, *plan.inserted])
    if lacking := set(declared.column_names) - set(schema.names):
        raise ColumnsGone(f"{table.name}: {', '.join(sorted(lacking))}")
    if schema == declared.schema:
        return declared
    stood = before()
    columns: list[Any] = []
    for field in schema:
        if field.name in declared.column_names:
            columns.append(declared.column(field.name).cast(field.type))
        else:
            none = pa.nulls(len(plan.inserted), field.type)
            columns.append(pa.chunked_array([*stood.column(field.name).chunks, none], field.type))
    return pa.Table.from_arrays(columns, schema=schema)
