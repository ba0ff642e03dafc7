"""Changes of an entity table, with what orders them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from claimx.domain.changes import Change, Source, Values
from claimx.domain.columns import Table
from claimx.domain.errors import Unreadable
from claimx.domain.events import Event
from claimx.domain.shared_rows import SharedRows
from claimx.domain.tables import PROJECTS
from claimx.domain.times import Micros
from claimx.domain.upsert import key_of


def answered(
    table: Table, values: Values, event: Event, asked_at: Micros, source: Source = Source.ANSWER
) -> list[Change]:
    """Return what an answer says of a row; nothing when a part of its key is missing."""
    if key_of(table, values) is None:
        return []
    return [Change(table.name, values, source, event.event_id, event.time, asked_at)]


def shared_rows(rows: Iterable[tuple[Table, Values]], asked_at: Micros) -> SharedRows:
    """Return what an answer says alike for every event; no row of which a part of its key lacks."""
    whole = [(table.name, values) for table, values in rows if key_of(table, values) is not None]
    return SharedRows(whole, asked_at)


def fact(event: Event, project_id: str, **values: Any) -> Change:
    """Return what the event itself says of its project."""
    return Change(
        PROJECTS.name,
        {"project_id": project_id, **values},
        Source.EVENT,
        event.event_id,
        event.time,
    )


def object_of(data: Any, what: str) -> dict[str, Any]:
    """Return an answer's object; raises Unreadable when it is none or empty."""
    if not isinstance(data, dict) or not data:
        raise Unreadable(f"the answer holds no {what}")
    return data
