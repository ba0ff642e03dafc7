"""
What earlier tries of an event had found, noted in its record until it is done or dead.

A try that fails half-way has found rows and media, and the next one may fail sooner. A dead event
leaves them all (domain page, section 6).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claimx.domain.changes import Change, Enrichment
from claimx.domain.codec import decode_changes, encode_changes, media_from_json, media_to_json
from claimx.domain.tables import TABLES

FOUND = "found"
"""Name in a record's data."""


def with_earlier(data: Mapping[str, Any], found: Enrichment) -> Enrichment:
    """
    Return *found* with what the tries noted in *data* had found; of two alike the newer.

    Raises Malformed, and what a note of another shape leads to.
    """
    noted = data.get(FOUND)
    if noted is None:
        return found
    changes = [*decode_changes(noted["rows"].encode()), *found.changes]
    media = [*map(media_from_json, noted["media"]), *found.media]
    return Enrichment(
        list({_what(change): change for change in changes}.values()),
        list({item.media_id: item for item in media}.values()),
        found.unconverted,
    )


def noted(found: Enrichment) -> dict[str, Any]:
    """Return what a record's data say of *found*: nothing where that is nothing."""
    if not found.changes and not found.media:
        return {}
    rows = encode_changes(found.changes).decode()
    return {FOUND: {"rows": rows, "media": [media_to_json(item) for item in found.media]}}


def _what(change: Change) -> tuple[Any, ...]:
    key = (change.values.get(name) for name in TABLES[change.table].key)
    return (change.table, change.source, *key)
