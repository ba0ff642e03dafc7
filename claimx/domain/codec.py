"""
Rows and media items as records carry them.

What is written here is read by workers a release older or newer: names only come, with defaults,
and what a reader does not know it leaves out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from claimx.domain.changes import Change, MediaItem, Source
from claimx.domain.errors import Malformed

_SOURCES = {source.value: source for source in Source}  # calling the class costs ten times as much
_ITEM = tuple(field.name for field in dataclasses.fields(MediaItem))


def encode_changes(changes: Sequence[Change]) -> bytes:
    """Return changes as JSON."""
    return orjson.dumps(changes)


def decode_changes(encoded: bytes) -> list[Change]:
    """Read what `encode_changes` wrote, empty bytes as no changes; raises Malformed."""
    if not encoded:
        return []
    try:
        return [_change(one) for one in orjson.loads(encoded)]
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise Malformed(f"the stored rows cannot be read ({type(error).__name__})") from None


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
