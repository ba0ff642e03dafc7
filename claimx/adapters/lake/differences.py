"""What a table in the lake differs in from its declaration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

import pyarrow as pa
from deltalake import DeltaTable

from claimx.adapters.lake.exchangeable import rules_of
from claimx.adapters.lake.files import whole_schema
from claimx.adapters.lake.schema import READER, WRITER, arrow_schema
from claimx.domain.columns import Table


class Kind(Enum):
    """In what a table differs."""

    MISSING = auto()
    TYPE = auto()
    ADDED = auto()
    READER = auto()
    WRITER = auto()
    PARTITIONS = auto()
    RULES = auto()


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference in words, with *subject* in front; *type* is a column's own, in the lake."""

    kind: Kind
    text: str
    type: pa.DataType | None = None


def differences(snapshot: DeltaTable, table: Table) -> list[Difference]:
    """Return all of them."""
    return [
        *_columns(snapshot, table),
        *_protocol(snapshot),
        *_partitions(snapshot, table),
        *_rules(snapshot, table),
    ]


def _columns(snapshot: DeltaTable, table: Table) -> Iterator[Difference]:
    stored, declared = whole_schema(snapshot), arrow_schema(table)
    for field in declared:
        if field.name not in stored.names:
            text = f"{field.name}: not in the lake; the writer adds it when it starts"
            yield Difference(Kind.MISSING, text)
        elif (there := stored.field(field.name).type) != field.type:
            text = f"{field.name}: {there} in the lake, declared {field.type}"
            yield Difference(Kind.TYPE, text, there)
    for name in stored.names:
        if name not in declared.names:
            yield Difference(Kind.ADDED, f"{name}: not declared; kept as it is")


def _protocol(snapshot: DeltaTable) -> Iterator[Difference]:
    protocol = snapshot.protocol()
    features = sorted({*(protocol.reader_features or []), *(protocol.writer_features or [])})
    what = f" ({', '.join(features)})" if features else ""
    text = f"asks for protocol {protocol.min_reader_version}/{protocol.min_writer_version}{what}"
    text += f", declared {READER}/{WRITER}"
    if protocol.min_reader_version > READER:
        yield Difference(Kind.READER, f"{text}: not every reader can")
    elif protocol.min_writer_version > WRITER:
        yield Difference(Kind.WRITER, f"{text}: not every writer can")


def _partitions(snapshot: DeltaTable, table: Table) -> Iterator[Difference]:
    partitions = tuple(snapshot.metadata().partition_columns)
    if partitions != table.partition_by:
        text = f"partitioned by {partitions}, declared {table.partition_by}"
        yield Difference(Kind.PARTITIONS, text)


def _rules(snapshot: DeltaTable, table: Table) -> Iterator[Difference]:
    if table.insert_only:  # delta-rs appends there, and keeps to them
        return
    if rules := sorted(rules_of(snapshot)):
        yield Difference(Kind.RULES, f"has {', '.join(rules)}: not set by the writer")
