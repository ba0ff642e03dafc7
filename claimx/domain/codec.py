"""
Rows and media items as records carry them.

What is written here is read by workers a release older or newer: names only come, with defaults,
and what a reader does not know it leaves out. Shared rows came with ADR 0012; what is older than
that cannot read them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import orjson

from claimx.domain.changes import Change, MediaItem, Source
from claimx.domain.errors import Malformed
from claimx.domain.shared_rows import SharedRows, apart
from claimx.domain.shared_rows import decoded as decoded_rows
from claimx.domain.times import Micros
from claimx.domain.value import value

_SOURCES = {source.value: source for source in Source}  # calling the class costs ten times as much
_ITEM = tuple(field.name for field in dataclasses.fields(MediaItem))


@value
class StoredChanges:
    """What a record says: its *own* changes, and rows that it *shared*, said by its event."""

    own: list[Change]
    shared: tuple[SharedRows, ...] = ()
    event_id: str = ""
    event_time: Micros = 0

    def all(self) -> list[Change]:
        """Return every change, the own ones last."""
        rows = (rows.changes(self.event_id, self.event_time) for rows in self.shared)
        return [*(change for part in rows for change in part), *self.own]


def encode_changes(changes: Sequence[Change]) -> bytes:
    """
    Return the changes of one event or file: lines of JSON.

    The first is a list of its own changes. Where rows are shared the next names its event, and
    each further one is of `SharedRows`.
    """
    own, shared = apart(changes)
    first = orjson.dumps([_stored(change) for change in own])
    if not shared:
        return first
    one = next(iter(shared.values()))
    event = orjson.dumps((one.event_id, one.event_time))
    return b"\n".join((first, event, *shared))


def decode_changes(encoded: bytes) -> list[Change]:
    """Read what `encode_changes` wrote, empty bytes as no changes; raises Malformed."""
    return decode_stored(encoded, {}).all()


def decode_stored(encoded: bytes, known: MutableMapping[bytes, SharedRows]) -> StoredChanges:
    """
    Read what `encode_changes` wrote, empty bytes as no changes; raises Malformed.

    Shared rows that are *known* by their bytes are those, others become known.
    """
    if not encoded:
        return StoredChanges([])
    try:
        first, *more = encoded.split(b"\n")
        own = [_change(one) for one in orjson.loads(first)]
        if not more:
            return StoredChanges(own)
        event_id, event_time = _event(more[0])
        shared = []
        for line in more[1:]:
            rows = known.get(line)
            if rows is None:
                rows = known[line] = decoded_rows(line)
            shared.append(rows)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise Malformed(f"the stored rows cannot be read ({type(error).__name__})") from None
    return StoredChanges(own, tuple(shared), event_id, event_time)


def media_to_json(item: MediaItem) -> dict[str, Any]:
    """Return a media item as a JSON object."""
    return {name: getattr(item, name) for name in _ITEM}


def media_from_json(data: Mapping[str, Any]) -> MediaItem:
    """Read what `media_to_json` wrote, other names left out; raises Malformed."""
    try:
        item = MediaItem(**{name: data[name] for name in _ITEM if name in data})
    except TypeError as error:
        raise Malformed(f"the stored media item lacks something: {error}") from None
    texts = (item.media_id, item.project_id, item.event_id, item.link)
    if not all(isinstance(one, str) for one in texts) or not isinstance(item.event_time, int):
        raise Malformed("the stored media item holds a value of another type")
    return item


def _stored(change: Change) -> dict[str, Any]:
    """Return a change as an object: orjson takes half as long again to find this out by itself."""
    return {
        "table": change.table,
        "values": change.values,
        "source": change.source,
        "event_id": change.event_id,
        "event_time": change.event_time,
        "enriched_at": change.enriched_at,
    }


def _change(stored: dict[str, Any]) -> Change:
    change = Change(
        stored["table"],
        stored["values"],
        _SOURCES[stored["source"]],
        stored["event_id"],
        stored["event_time"],
        stored.get("enriched_at"),
    )
    if not isinstance(change.table, str) or not isinstance(change.values, dict):
        raise TypeError("a row is an object of a table")
    return change


def _event(line: bytes) -> tuple[str, Micros]:
    event_id, event_time = orjson.loads(line)
    if not isinstance(event_id, str) or not isinstance(event_time, int):
        raise TypeError("an event has an id and a time")
    return event_id, event_time
