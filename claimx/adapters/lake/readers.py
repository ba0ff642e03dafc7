"""
Whether other readers can read a table: above all the SQL endpoint of Fabric, and Power BI.

What they need stands in ``docs/tables.md``; each line of it that a table can miss is looked for.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from deltalake import DeltaTable

from claimx.adapters.lake.files import actions_of, whole_schema
from claimx.adapters.lake.upkeep import SMALL_BYTES, SMALL_FILES
from claimx.domain.columns import Table
from claimx.domain.diagnosis import Diagnosis

READER, WRITER = 1, 2
"""The versions of the Delta protocol that every reader has, the SQL endpoint of Fabric too."""

MANY_SMALL = 10 * SMALL_FILES  # maintenance has not come by for long
_AREA = "lake"
_NOT_ALL_READ = "the SQL endpoint of Fabric, Power BI and older readers cannot read the table"


def diagnoses(snapshot: DeltaTable, table: Table, most_rows: int) -> list[Diagnosis]:
    """
    Return what keeps other readers from the table, or makes it slow for them.

    With more than *most_rows* it lies in pieces for folds, which are small files on purpose.
    """
    found = [*_protocol(snapshot), *_columns(snapshot), *_files(snapshot, most_rows)]
    return [Diagnosis(_AREA, table.name, *said) for said in found]


def _protocol(snapshot: DeltaTable) -> Iterator[tuple[str, str, str]]:
    protocol = snapshot.protocol()
    asked = (protocol.min_reader_version, protocol.min_writer_version)
    features = sorted({*(protocol.reader_features or []), *(protocol.writer_features or [])})
    if asked > (READER, WRITER):
        named = f" ({', '.join(features)})" if features else ""
        yield (
            f"asks for protocol {asked[0]}/{asked[1]}{named}, ours is {READER}/{WRITER}",
            _NOT_ALL_READ,
            "drop the features with the tool that set them, or let the writer make the table anew",
        )
    mode = snapshot.metadata().configuration.get("delta.columnMapping.mode", "none")
    if mode != "none":
        yield (
            f"its columns are mapped by {mode}",
            "the SQL endpoint reads columns mapped by id as empty",
            "write the table anew without delta.columnMapping.mode",
        )


def _columns(snapshot: DeltaTable) -> Iterator[tuple[str, str, str]]:
    for field in whole_schema(snapshot):
        if pa.types.is_timestamp(field.type) and field.type.tz is None:
            yield (
                f"{field.name} is a time without a zone",
                "the SQL endpoint leaves the column out in silence",
                "write it as timestamp with UTC",
            )


def _files(snapshot: DeltaTable, most_rows: int) -> Iterator[tuple[str, str, str]]:
    actions = actions_of(snapshot)
    small = sum(1 for one in actions if one["size_bytes"] < SMALL_BYTES)
    rows = sum(int(one["num_records"] or 0) for one in actions)
    if small > MANY_SMALL and rows <= most_rows:
        yield (
            f"it lies in {small:,} small files",
            "each costs every query a request",
            "see whether maintenance fails (the log of a worker), and run claimx tables compact",
        )
