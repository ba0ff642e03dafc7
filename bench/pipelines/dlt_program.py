"""
The pipeline in dlt, run as ``python -m pipelines.dlt_program JOB`` in the environment that has it.

Pages of the source become a resource, the calls of each event a deferred item in a pool of threads,
and each of the tables a resource that takes its rows from there; all are merged by key (upsert)
into Delta tables in a folder. No media: dlt has nothing for files.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dlt
from dlt.destinations import filesystem

from claimx.domain.columns import ColumnType, Table
from claimx.domain.tables import ATTACHMENTS, TABLES
from pipelines.job import Job
from pipelines.rows import Found
from pipelines.source import Event, pages
from pipelines.threaded import asked

DATASET = "peer"
_TYPES: dict[ColumnType, Any] = {
    ColumnType.TEXT: "text",
    ColumnType.INTEGER: "bigint",
    ColumnType.DOUBLE: "double",
    ColumnType.BOOLEAN: "bool",
    ColumnType.TIME: "timestamp",
    ColumnType.DAY: "date",
}


def main(job: Job) -> None:
    """Load the job's events."""
    pipeline = dlt.pipeline(
        pipeline_name="peer",
        pipelines_dir=str(job.folder / "dlt"),
        destination=filesystem(bucket_url=job.lake.resolve().as_uri()),
        dataset_name=DATASET,
    )
    print(pipeline.run(claimx(job)))


@dlt.source(name="claimx", max_table_nesting=0)
def claimx(job: Job) -> Iterator[Any]:
    """Declare a resource for each table, over one that asks the API."""
    known: set[str] = set()

    @dlt.resource(name="events", selected=False)
    def events() -> Iterator[list[Event]]:
        yield from pages(job.environment, job.events)

    @dlt.transformer(data_from=events, name="asked", selected=False)
    def answered(page: list[Event]) -> Iterator[Any]:
        for event in page:
            yield _ask(job, event, known)

    for table in TABLES.values():
        if table is not ATTACHMENTS:
            yield _part(table, answered)


@dlt.defer
def _ask(job: Job, event: Event, known: set[str]) -> dict[str, Found]:
    """Make an event's calls, in a thread; returns its rows."""
    return {"rows": asked(job, event, known)}


def _part(table: Table, answered: Any) -> Any:
    times = [column.name for column in table.columns if column.type is ColumnType.TIME]

    @dlt.transformer(
        data_from=answered,
        name=table.name,
        primary_key=list(table.key),
        write_disposition={"disposition": "merge", "strategy": "upsert"},
        table_format="delta",
        columns={column.name: {"data_type": _TYPES[column.type]} for column in table.columns},
    )
    def rows(found: dict[str, Found]) -> list[dict[str, Any]]:
        return [_with_times(row, times) for name, row in found["rows"] if name == table.name]

    return rows


def _with_times(row: dict[str, Any], times: list[str]) -> dict[str, Any]:
    row.pop("link", None)
    for name in times:
        if (micros := row.get(name)) is not None:
            row[name] = datetime.fromtimestamp(micros / 1e6, UTC)
    return row


if __name__ == "__main__":
    main(Job.load(sys.argv[1]))
