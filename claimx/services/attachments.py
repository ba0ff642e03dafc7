"""
What a media file's record carries through its stages, and the attachment row it ends as.

Beside the media item (`claimx.domain.codec.media_to_json`) its data hold ``refresh`` (true: ask
for a new link first), ``refreshes`` (links asked for so far), ``free`` (those that a vanished file
or a full cache cost, which the bound does not count), ``vanished``, ``cached``, ``blob_path``,
``uploaded_at`` and at last ``status``.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from claimx.domain.changes import Change, MediaItem, Source
from claimx.domain.codec import encode_changes, media_from_json
from claimx.domain.columns import Rule
from claimx.domain.errors import Malformed
from claimx.domain.ports.media import CachedFile
from claimx.domain.records import Buried, Failure, Outcome, Record
from claimx.domain.tables import ATTACHMENTS
from claimx.domain.times import Micros, from_seconds
from claimx.services.settle import Judging, outcome_of

COMPLETED, FAILED = "completed", "failed"
_CACHED = tuple(field.name for field in fields(CachedFile))
_NOTHING_KNOWN: dict[str, Any] = {
    column.name: None for column in ATTACHMENTS.columns if column.rule is not Rule.BOOKKEEPING
}


def item_of(data: dict[str, Any]) -> MediaItem:
    """Return the media item of a record's data; raises Malformed when there is none."""
    return media_from_json(data)


def cached_to_json(cached: CachedFile) -> dict[str, Any]:
    """Return the cached file as plain JSON values."""
    return {name: getattr(cached, name) for name in _CACHED}


def cached_of(data: dict[str, Any]) -> CachedFile | None:
    """Return the cached file of a record's data, None when it has none (any more)."""
    found = data.get("cached")
    try:
        return CachedFile(**found) if isinstance(found, dict) else None
    except TypeError:
        return None


def count_of(data: dict[str, Any], name: str) -> int:
    """Return a counter of a record's data, zero when it was not begun."""
    value = data.get(name, 0)
    return value if isinstance(value, int) else 0


def refreshes_spent(data: dict[str, Any]) -> int:
    """Return the refreshes that count against the bound of three over a record's life."""
    return max(0, count_of(data, "refreshes") - count_of(data, "free"))


def failed(record: Record, error: BaseException, judging: Judging, data: dict[str, Any]) -> Outcome:
    """
    Return what *error* means for a media record, whose data are *data* by now.

    One that is given up on is an attachment row as well: its status says failed, and why.
    """
    outcome = outcome_of(record, error, judging, refreshes=refreshes_spent(data), data=data)
    if not isinstance(outcome, Buried):
        return outcome
    try:
        item = item_of(data)
    except Malformed:
        return outcome  # nobody can say whose row it would be
    row = failed_row(item, count_of(data, "refreshes"), outcome.failure)
    return replace(outcome, rows=encode_changes([row]))


def completed_row(data: dict[str, Any]) -> Change:
    """
    Return the row of a file that OneLake has; raises Malformed when the data do not tell.

    It is ordered by the time of its upload.
    """
    item, cached = item_of(data), cached_of(data)
    blob_path, uploaded_at = data.get("blob_path"), data.get("uploaded_at")
    if cached is None or not isinstance(blob_path, str) or not isinstance(uploaded_at, int):
        raise Malformed("the record does not say what was uploaded; requeue it")
    return _row(
        item,
        count_of(data, "refreshes"),
        uploaded_at,
        content_type=cached.content_type,
        blob_path=blob_path,
        bytes=cached.bytes,
        sha256=cached.sha256,
        status=COMPLETED,
        downloaded_at=cached.downloaded_at,
        uploaded_at=uploaded_at,
    )


def failed_row(item: MediaItem, refreshes: int, failure: Failure) -> Change:
    """Return the row of a file that was given up on; it is ordered by the time of the failure."""
    return _row(
        item,
        refreshes,
        from_seconds(failure.at),
        status=FAILED,
        error_category=failure.category.value,
        error=failure.message,
    )


def _row(item: MediaItem, refreshes: int, at: Micros, **found: Any) -> Change:
    """Return a row that speaks of every column, so that it replaces an earlier result whole."""
    values = {
        **_NOTHING_KNOWN,
        "media_id": item.media_id,
        "project_id": item.project_id,
        "file_name": item.file_name,
        "file_type": item.media_type,
        "refreshes": refreshes,
        **found,
    }
    return Change(
        table=ATTACHMENTS.name,
        values=values,
        source=Source.RESULT,
        event_id=item.event_id,
        event_time=item.event_time,
        enriched_at=at,
    )
