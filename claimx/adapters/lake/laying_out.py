"""A table's files cut anew into pieces, where they lie in another way and memory is too small."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from claimx.adapters.lake.files import batches_of
from claimx.adapters.lake.rewriting import written
from claimx.adapters.lake.scan import filesystem_of
from claimx.adapters.lake.spill import Spill, bounds_from, sample_of
from claimx.domain.columns import Table


def laid_out(
    snapshot: DeltaTable,
    table: Table,
    schema: pa.Schema,
    paths: Sequence[str],
    *,
    rows: int,
    piece_rows: int,
    folder: Path,
    check: Callable[[], None],
    new: list[AddAction],
) -> None:
    """
    Write the rows of these files as files that are ranges of keys, and add each to *new*.

    *rows* is about how many there are. Takes two looks at the files, and room below *folder* for
    their rows. *check* is called again and again, and may raise to end it.
    """
    key = table.key[0]
    filesystem = filesystem_of(snapshot)

    def batches(wanted: pa.Schema) -> Iterator[pa.RecordBatch]:
        for path in paths:
            for batch in batches_of(filesystem, path, wanted):
                check()
                yield batch

    keys = (batch.column(0) for batch in batches(pa.schema([schema.field(key)])))
    bounds = bounds_from(sample_of(keys, rows), max(1, round(rows / piece_rows)))
    with Spill(folder, schema, key, bounds) as spill:
        spill.fill(batches(schema))
        for at in range(len(spill.ranges)):
            check()
            new += written(snapshot, table, spill.read(at), piece_rows)
