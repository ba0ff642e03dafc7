"""``docs/tables.md``, from the declarations."""

from __future__ import annotations

from collections.abc import Iterator

from claimx.adapters.lake.change_log import OWN_COLUMNS
from claimx.adapters.lake.layout import Sizes
from claimx.domain.columns import Rule, Table
from claimx.domain.folding import (
    LEAST_SECONDS,
    ROW_SECONDS,
    SHARE_OF_CORE,
    SHARE_OF_ROWS,
    delay_seconds,
)
from claimx.domain.tables import TABLES

_RULES = {
    Rule.KEY: "the key",
    Rule.ANSWER: "the newest answer of the API, its null as well",
    Rule.LATEST: "the greatest value ever seen",
    Rule.STICKY: "the newest value that is not null",
    Rule.EVER: "true once it was true",
    Rule.NAMED: "the newest MFN event, else the newest answer",
    Rule.BOOKKEEPING: "kept by the lake",
}


_MINUTE = 60.0

_HEAD = """\
# Tables

Generated from `claimx/domain/tables.py` by `make docs`.
[Domain page, section 4](domain.md#4-the-nine-delta-tables) says what a row means.
`claimx tables ls` shows how they lie, `claimx tables diff` what they differ in from this page.

Times are `timestamp`, microseconds, UTC.
Every table asks for version 1 of the Delta protocol to be read and 2 to be written: no deletion
vectors, no column mapping.

## What other readers need

| reader | needs | so here |
| --- | --- | --- |
| SQL endpoint of Fabric, Power BI | times with a zone; others are left out in silence | all UTC |
| | no column mapping by id, no new types | plain columns, protocol 1/2 |
| | names that differ in more than case | lower case, underscores |
| | a minute: so long, as a rule, until it sees a commit | |
| | files of 128 MB and more, to be at its best | small tables: yes; large ones: 10 MB |
| Spark, DuckDB, polars, pyarrow, deltalake | protocol 1/2, zstd | |

V-Order is Fabric's own, and no other writer has it.
`claimx doctor --only lake` looks for what a table can miss of this: its protocol, the mapping and
types of its columns, its partitions, and far too many small files.
DuckDB, polars, pyarrow and deltalake read all nine in the tests; Fabric, Power BI and Spark were
not at hand.

## A value that comes later

| rule | what a column holds |
| --- | --- |
{rules}

## Large tables

A flush into a table of up to {direct:,} rows changes it at once.
A larger one is not touched by a flush: what is said of it goes to a Delta table beside it,
`<table>_changes`, at the cost of what is said, and can be read there at once.
A fold brings it into the table. `claimx_events` only gains rows, and has no such log.

A plain SELECT on a large table is right up to the last fold. One begins
- when changes have waited for {least:.0f} s, or as long as it takes to keep folds below
  {share:.0%} of one core: rows * {micros:.0f} µs / {share}
- or when they are {many:.0%} of the table's rows.

| rows | a change waits at most, until a fold begins |
| --- | --- |
{delays}

What a fold has replaced is removed an hour later: a query has so long to end.

The first fold of a table that somebody else has made, or that has just become large, lays it out
anew: its files are then ranges of keys.

`claimx tables view <table>` prints SQL for DuckDB and Spark that shows the table right now.
`claimx tables fold <table>` brings in at once what waits.
The log has the table's columns but its bookkeeping, and these:

| column | type | meaning |
| --- | --- | --- |
{log}
"""


def tables_page() -> str:
    """Return the page; `claimx tables page` prints it."""
    return "\n".join([*_head(), *(line for table in TABLES.values() for line in _table(table))])


def _head() -> Iterator[str]:
    text = _HEAD.format(
        direct=Sizes().direct,
        least=LEAST_SECONDS,
        share=SHARE_OF_CORE,
        micros=ROW_SECONDS * 1e6,
        many=SHARE_OF_ROWS,
        rules="\n".join(f"| {rule.value} | {text} |" for rule, text in _RULES.items()),
        delays="\n".join(f"| {rows:,} | {_minutes(rows)} |" for rows in (10**6, 10**7, 10**8)),
        log="\n".join(_log_columns()),
    )
    yield from text.splitlines()
    yield ""


def _log_columns() -> Iterator[str]:
    for column in OWN_COLUMNS:
        yield f"| `{column.name}` | {column.type.value} | {column.doc} |"


def _minutes(rows: int) -> str:
    seconds = delay_seconds(rows)
    return f"{seconds:.0f} s" if seconds < 2 * _MINUTE else f"{seconds / _MINUTE:.1f} min"


def _table(table: Table) -> Iterator[str]:
    yield f"## {table.name}"
    yield ""
    yield table.doc
    yield ""
    key = ", ".join(f"`{name}`" for name in table.key)
    partition = "".join(f", partitioned by `{name}`" for name in table.partition_by)
    kept = " The first row of a key stays." if table.insert_only else ""
    yield f"Key: {key}{partition}.{kept} Own path: `CLAIMX_{table.setting}_TABLE_PATH`."
    yield ""
    yield "| column | type | rule | meaning |"
    yield "| --- | --- | --- | --- |"
    for column in table.columns:
        yield f"| `{column.name}` | {column.type.value} | {column.rule.value} | {column.doc} |"
    yield ""
