"""A record that fetches the file of a row of the lake, which no event has led to."""

from __future__ import annotations

from claimx.domain.changes import MediaItem, Values
from claimx.domain.codec import media_to_json
from claimx.domain.records import Kind, NewRecord, Stage, media_record_id


def media_record(row: Values, trace: str) -> NewRecord:
    """Return what fetches the file of a row of ``claimx_media``, by a link that it asks for."""
    return NewRecord(
        id=media_record_id(str(row["media_id"])),
        kind=Kind.MEDIA,
        stage=Stage.DOWNLOAD,
        data=media_to_json(_item(row)) | {"refresh": True},
        trace=trace,
    )


def _item(row: Values) -> MediaItem:
    """Return the media item of a row; the event's own time is not in it, that of the data is."""
    return MediaItem(
        media_id=str(row["media_id"]),
        project_id=str(row["project_id"]),
        event_id=str(row["event_id"] or ""),
        event_time=row["last_enriched_at"] or row["created_at"],
        link="",  # a bearer secret is in no table
        file_name=row["file_name"],
        media_type=row["file_type"],
    )
