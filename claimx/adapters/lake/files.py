"""Data files of a table: read whole, written with their statistics, exchanged in one commit."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    WriterProperties,
)
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction
from pyarrow.fs import SubTreeFileSystem

from claimx.adapters.lake.handles import folder_of, unknown_features
from claimx.adapters.lake.scan import filesystem_of
from claimx.adapters.lake.schema import plain_type, skipping
from claimx.domain.columns import Table

# Expired logs are removed by maintenance alone: on OneLake the hook fails after the commit.
HOOKS = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)
WRITER = WriterProperties(compression="ZSTD")

ROW_GROUP_ROWS = 65_536
_SAMPLED = 4096
_READ_WHOLE_BYTES = 64 * 1024 * 1024
_WORTH_A_DICTIONARY = 20_000  # rows
_LONGEST = 64  # characters of a text in the statistics
_AFTER_ALL = "\U0010ffff"
_MILLISECOND = timedelta(milliseconds=1)


def whole_schema(snapshot: DeltaTable) -> pa.Schema:
    """Return the table's own schema, with columns that somebody else has added."""
    arrow: Any = snapshot.schema().to_arrow()
    return pa.schema([pa.field(one.name, plain_type(one.type)) for one in pa.schema(arrow)])


def batches_of(
    filesystem: Any, path: str, schema: pa.Schema, rows: int = ROW_GROUP_ROWS
) -> Iterator[pa.RecordBatch]:
    """Yield one file's rows in pieces of at most *rows*; columns that it lacks are null."""
    with opened(filesystem, path) as file:
        there = set(file.schema_arrow.names)
        names = [name for name in schema.names if name in there]
        for batch in file.iter_batches(batch_size=rows, columns=names):
            yield _as_declared(batch, schema)


def opened(filesystem: Any, path: str) -> pq.ParquetFile:
    """
    Open a data file; close it.

    Where each read is a request, one of up to 64 MB is read whole by one: a column each would be
    dozens, and take longer than the bytes.
    """
    source = filesystem.open_input_file(path)
    local = isinstance(filesystem, SubTreeFileSystem)  # see `filesystem_of`
    if not local and source.size() <= _READ_WHOLE_BYTES:
        with source:
            source = pa.BufferReader(source.read_buffer())
    # others' old-fashioned times would else be nanoseconds, which end in 2262
    return pq.ParquetFile(source, pre_buffer=False, coerce_int96_timestamp_unit="us")


def write_file(snapshot: DeltaTable, table: Table, rows: pa.Table) -> AddAction:
    """
    Write rows as a new file, which is in the table once `replace` has committed it.

    What fails half-way leaves nothing behind in a folder.
    """
    path = f"part-00000-{uuid4()}-c000.zstd.parquet"
    write: Any = pq.write_table  # its types know of no list of columns
    try:
        with filesystem_of(snapshot).open_output_stream(path) as stream:
            write(
                rows,
                stream,
                compression="zstd",
                use_dictionary=_repetitive(rows) or False,
                row_group_size=ROW_GROUP_ROWS,
                store_schema=False,  # readers go by the log's schema
            )
            size = stream.tell()
    except BaseException:
        discard(snapshot, [path])
        raise
    return AddAction(
        path=path,
        size=size,
        partition_values={},
        modification_time=int(time.time() * 1000),
        data_change=True,
        # deltalake reads what JSON writes as two escapes, U+20000 and above, as another character
        stats=json.dumps(statistics(table, rows), ensure_ascii=False),
    )


def replace(
    snapshot: DeltaTable,
    table: Table,
    removed: Sequence[Mapping[str, Any]],
    added: Sequence[AddAction],
    properties: CommitProperties | None = None,
) -> None:
    """
    Take *removed* files (entries of `actions_of`) out and put *added* in, in one commit.

    Raises what deltalake raises. Whether the removed files are there yet is for *properties* to
    see to (`Committer.exchange`): delta-rs does not look when a compaction came in between.
    """
    now = int(time.time() * 1000)
    gone = [RemoveAction(one["path"], True, now, one["size_bytes"], {}) for one in removed]
    try:
        snapshot.create_write_transaction(
            [*gone, *added],
            mode="append",
            schema=snapshot.schema(),
            partition_by=list(table.partition_by),
            commit_properties=properties,
            post_commithook_properties=HOOKS,
        )
    except CommitFailedError as error:
        paths = [one.path for one in added]
        if unknown_features(error) or _are_left_out(snapshot, paths):
            discard(snapshot, paths)
        raise


def discard(snapshot: DeltaTable, paths: Iterable[str]) -> None:
    """
    Delete files that were written and given to no commit; never others, whatever was answered.

    In a folder, at once. Elsewhere they stay until maintenance removes what no log names, after two
    days: OneLake refuses how object_store deletes. Never raises.
    """
    folder = folder_of(snapshot.table_uri)
    if folder is None:
        return
    for path in paths:
        with suppress(OSError):
            (folder / path).unlink()


def _are_left_out(snapshot: DeltaTable, paths: Sequence[str]) -> bool:
    """
    Say whether none of these files came into the table with a commit behind *snapshot*.

    A commit whose answer was lost looks like a race that another has won; so the log is asked. Only
    a folder's is at hand.
    """
    folder = folder_of(snapshot.table_uri)
    if folder is None:
        return False
    for version in count(snapshot.version() + 1):
        try:
            said = (folder / "_delta_log" / f"{version:020}.json").read_text()
        except FileNotFoundError:
            return version > snapshot.version() + 1  # else nobody has won
        except OSError:
            return False
        if any(path in said for path in paths):
            return False
    return False


def statistics(table: Table, rows: pa.Table) -> dict[str, Any]:
    """Return a file's statistics as the log keeps them, of the columns that skip files."""
    found: dict[str, Any] = {"numRecords": rows.num_rows}
    found["minValues"], found["maxValues"], found["nullCount"] = {}, {}, {}
    for name in skipping(table):
        column = rows.column(name)
        found["nullCount"][name] = column.null_count
        bounds: Any = pc.min_max(column).as_py()
        if bounds["min"] is None:
            continue
        with suppress(OverflowError):  # the last millisecond there is: the column has no bounds
            found["maxValues"][name] = _bound(bounds["max"], upper=True)
            found["minValues"][name] = _bound(bounds["min"], upper=False)
    return found


def _repetitive(rows: pa.Table) -> list[str]:
    """
    Return columns of few values: a dictionary of the others costs time, and room as well.

    Of few rows none: to find out takes longer than to write them, and saves a tenth of the room.
    Lists, maps and the like, which only others add, nobody can count.
    """
    if rows.num_rows < _WORTH_A_DICTIONARY:
        return []
    sample = rows.slice(0, _SAMPLED)
    most = max(1, sample.num_rows // 10)
    call: Any = pc
    flat = [field.name for field in rows.schema if not pa.types.is_nested(field.type)]
    return [name for name in flat if call.count_distinct(sample[name]).as_py() <= most]


def _bound(value: Any, *, upper: bool) -> Any:
    if isinstance(value, datetime):  # the log's are cut to milliseconds
        cut = value.astimezone(UTC)
        cut = cut.replace(microsecond=cut.microsecond // 1000 * 1000)
        cut += _MILLISECOND if upper and cut != value else timedelta(0)
        return cut.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, str) and len(value) > _LONGEST:
        start = value[:_LONGEST]
        if not upper:
            return start
        return max(start + _AFTER_ALL, value)
    return value


def _as_declared(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    arrays = []
    for field in schema:
        at = batch.schema.get_field_index(field.name)
        if at < 0:
            arrays.append(pa.nulls(batch.num_rows, field.type))
        else:
            column = batch.column(at)
            arrays.append(column if column.type == field.type else column.cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
