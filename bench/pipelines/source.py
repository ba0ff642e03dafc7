"""Pages of the source over Kusto's REST interface, for the contenders without a client of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson
import requests

PAGE_ROWS = 1000
_QUERY = """declare query_parameters(_after:datetime);
['{table}']
| where ingestion_time() > _after
| extend _at = ingestion_time()
| project event_id, event_type, project_id, media_id, task_assignment_id,
    video_collaboration_id, master_file_name, ingested_at, _at
| order by _at asc, event_id asc
| take {rows}"""
BEGIN = "2000-01-01T00:00:00Z"


class Event(NamedTuple):
    """A source row; ids are text, times as Kusto writes them."""

    event_id: str
    type: str
    project_id: str
    media_id: str | None
    task_id: str | None
    video_id: str | None
    file_name: str | None
    time: str


def question(environment: Mapping[str, str], after: str) -> tuple[str, bytes]:
    """Return the address to post to, and the body that asks for the rows behind *after*."""
    table = environment["CLAIMX_EVENTHOUSE_SOURCE_TABLE"]
    body = {
        "db": environment["CLAIMX_EVENTHOUSE_DATABASE"],
        "csl": _QUERY.format(table=table, rows=PAGE_ROWS + 1),
        "properties": {"Parameters": {"_after": f"datetime({after})"}},
    }
    return f"{environment['EVENTHOUSE_CLUSTER_URL']}/v2/rest/query", orjson.dumps(body)


def page_of(answer: bytes) -> tuple[list[Event], str | None]:
    """Return the page's events, and behind which time the next one begins; None at the end."""
    frames = orjson.loads(answer)
    rows: list[Any] = next(f["Rows"] for f in frames if f.get("TableKind") == "PrimaryResult")
    after = None
    if len(rows) > PAGE_ROWS:  # rows of one time stay together
        rows = [row for row in rows if row[-1] < rows[-1][-1]]
        after = rows[-1][-1]
    return [_event(row) for row in rows], after


def pages(environment: Mapping[str, str], events: int) -> Iterator[list[Event]]:
    """Read the first *events* of the source, page by page."""
    after: str | None = BEGIN
    while after is not None and events > 0:
        url, body = question(environment, after)
        answer = requests.post(url, body, headers=HEADERS, timeout=60)
        answer.raise_for_status()
        found, after = page_of(answer.content)
        yield found[:events]
        events -= len(found)


HEADERS = {"Content-Type": "application/json"}


def _event(row: list[Any]) -> Event:
    event_id, type_, project, media, task, video, name, time, at = row
    return Event(
        event_id, type_, _id(project) or "", _id(media), _id(task), _id(video), name, time or at
    )


def _id(value: Any) -> str | None:
    """Return a dynamic value as text; text may come with its quotes."""
    return None if value is None else str(value).strip('"')
