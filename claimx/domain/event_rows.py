"""Rows of the source as events (domain page, section 6)."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from claimx.domain.errors import Malformed
from claimx.domain.events import Event, EventType
from claimx.domain.polling import TIME
from claimx.domain.redaction import redact
from claimx.domain.times import EARLIEST, LATEST, Micros, to_iso
from claimx.domain.values import Converter, Unconvertible, id_text, text
from claimx.domain.written_times import time

MAX_ID_LENGTH = 512

_COLUMNS: Mapping[str, str] = {
    "event_id": "eventId",
    "event_type": "eventType",
    "project_id": "projectId",
    "media_id": "mediaId",
    "media_ids": "mediaIds",
    "task_assignment_id": "taskAssignmentId",
    "video_collaboration_id": "videoCollaborationId",
    "master_file_name": "masterFileName",
    "ingested_at": "ingestedAt",
}
KNOWN_COLUMNS = frozenset((*_COLUMNS, *_COLUMNS.values(), TIME))
"""What a row is read from; whatever else it has is kept, and never makes it none."""

_LONGEST_SHOWN = 40
_PLAIN = re.compile(rf"[!-~]{{1,{MAX_ID_LENGTH}}}").fullmatch  # stays as it is, whatever is checked
# A project task names its own project, which wins over the event's: the event need not know it.
_NEED_A_PROJECT = frozenset(EventType) - {
    EventType.CUSTOM_TASK_ASSIGNED,
    EventType.CUSTOM_TASK_COMPLETED,
}


def parse(row: Mapping[str, Any]) -> Event:
    """
    Read a row of the source: snake_case or camelCase columns, ``_ingestion_time`` as `Micros`.

    Raises Malformed, and nothing else, naming the column that makes it no event (domain page,
    section 6). Where a column stands in both spellings, the snake_case one counts if it says
    anything. A time that is none is as if there were none.
    """
    type_ = _type(row)
    event_id = _id(row, "event_id")
    project_id = _id(row, "project_id")
    media_id = _id(row, "media_id")
    media_ids = _media_ids(row)
    task, video = _id(row, "task_assignment_id"), _id(row, "video_collaboration_id")
    name = _optional(row, "master_file_name", text)
    own_time: Micros | None = _optional(row, "ingested_at", time)
    source_time = _source_time(row, own_time)
    if project_id is None and type_ in _NEED_A_PROJECT:
        raise Malformed(f"project_id is missing, and {type_} needs a project")
    if event_id is None:
        media = ",".join(media_ids) or media_id
        parts = {"media": media, "task": task, "video": video, "file": name}
        event_id = _hash(project_id, type_, source_time, parts)
    known = KNOWN_COLUMNS.issuperset(row)
    return Event(  # by position, as in `from_json`: naming them takes as long as all else here
        event_id,
        type_,
        project_id,
        source_time if own_time is None else own_time,
        source_time,
        media_id,
        media_ids,
        task,
        video,
        name,
        {} if known else {key: value for key, value in row.items() if key not in KNOWN_COLUMNS},
    )


def _hash(
    project_id: str | None, type_: str, source_time: Micros, parts: Mapping[str, str | None]
) -> str:
    """Identify a row without an id; two that are equal in all of this are taken for one event."""
    named = [f"{name}:{value}" for name, value in parts.items() if value]
    told = [project_id] if project_id else []
    return hashlib.sha256(
        "|".join([*told, type_, to_iso(source_time), *named]).encode()
    ).hexdigest()


def _raw(row: Mapping[str, Any], column: str) -> Any:
    """Return a column in either spelling, None when it is blank."""
    for name in (column, _COLUMNS[column]):
        value = row.get(name)
        if value is not None and not (isinstance(value, str) and not value.strip()):
            return value
    return None


def _type(row: Mapping[str, Any]) -> str:
    value = row.get("event_type")
    if type(value) is str and _PLAIN(value):
        return value.upper()
    value = _raw(row, "event_type")
    if value is None:
        raise Malformed("event_type is missing")
    if not isinstance(value, str):
        raise Malformed(f"event_type is {_kind(value)}, not text")
    found = _checked("event_type", (text(value) or "").upper())
    if not found:
        raise Malformed("event_type is blank")
    return found


def _id(row: Mapping[str, Any], column: str) -> str | None:
    value = row.get(column)
    if type(value) is str and _PLAIN(value):  # nearly all that is not null, sooner
        return value
    if value is None and row.get(_COLUMNS[column]) is None:
        return None
    return _as_id(column, _raw(row, column))


def _as_id(column: str, value: Any) -> str | None:
    try:
        return _checked(column, id_text(value))
    except Unconvertible:
        raise Malformed(f"{column} is {_kind(value)}, not an id") from None


def _checked(column: str, found: str | None) -> str | None:
    """Refuse what no id can be: it would be carried into keys, addresses and names of files."""
    if found is None:
        return None
    if len(found) > MAX_ID_LENGTH:
        raise Malformed(f"{column} has {len(found)} characters, more than {MAX_ID_LENGTH}")
    if not found.isprintable() and any(unicodedata.category(one) == "Cc" for one in found):
        raise Malformed(f"{column} holds control characters: {_shown(found)}")
    return found


def _media_ids(row: Mapping[str, Any]) -> tuple[str, ...]:
    column = "media_ids"
    value = _raw(row, column)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise Malformed(f"{column} is no JSON list: {_shown(value)}") from None
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise Malformed(f"{column} is {_kind(value)}, not a list")
    return tuple(one for one in (_as_id(column, entry) for entry in value) if one is not None)


def _optional(row: Mapping[str, Any], column: str, convert: Converter) -> Any:
    try:
        return convert(_raw(row, column))
    except Unconvertible:
        return None


def _source_time(row: Mapping[str, Any], own_time: Micros | None) -> Micros:
    found = row.get(TIME)
    if found is None:
        found = own_time
    if found is None:
        raise Malformed("the row has neither an ingestion time nor ingested_at")
    if isinstance(found, bool) or not isinstance(found, int) or not EARLIEST <= found <= LATEST:
        raise Malformed("the row's ingestion time is no time")
    return found


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "true or false"
        case dict():
            return "an object"
        case list() | tuple():
            return "a list"
        case int() | float():
            return "a number"
        case _:
            return type(value).__name__


def _shown(value: str) -> str:
    """Return the beginning of text for an operator: escaped, without personal data."""
    return redact(repr(value[: 2 * _LONGEST_SHOWN]), _LONGEST_SHOWN, numbers=False)
