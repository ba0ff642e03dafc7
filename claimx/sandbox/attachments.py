"""What must be recorded of a media file: where it lies, what it is, or why it failed."""

from __future__ import annotations

import unicodedata
from typing import Any

from claimx.sandbox.entities import MediaFile
from claimx.sandbox.files import KINDS, digest
from claimx.sandbox.matchers import ANY, PRESENT, between, one_of, safe_path
from claimx.sandbox.truth import Row

MAX_REFRESHES = 3
_ENDINGS = {
    "jpg": (".jpg", ".jpeg"),
    "html": (".html", ".htm"),
    "heic": (".heic", ".heif"),
    "csv": (".csv", ".txt"),  # bytes alone do not tell these from text
    "json": (".json", ".txt"),
}


def attachment_row(item: MediaFile) -> Row:
    """Return the row of ``claimx_attachments``, but for what events add."""
    row: Row = {
        "media_id": item.key,
        "project_id": str(item.project_id),
        "file_name": item.row["file_name"],
        "file_type": item.row["file_type"],
        "refreshes": between(0, MAX_REFRESHES),
    }
    if item.failure:
        unknown = "content_type blob_path bytes sha256 downloaded_at uploaded_at".split()
        return {
            **row,
            **dict.fromkeys(unknown, ANY),
            "status": "failed",
            "error_category": one_of(item.failure),
            "error": PRESENT,
        }
    content, types = item.content(), KINDS[item.kind].content_types
    return {
        **row,
        "status": "completed",
        "content_type": one_of(types) if types else ANY,
        "blob_path": blob_path(item),
        "bytes": len(content),
        "sha256": digest(content),
        "downloaded_at": PRESENT,
        "uploaded_at": PRESENT,
    }


def blob_path(item: MediaFile) -> Any:
    """Return where the file must lie below ``ONELAKE_CLAIMX_PATH``: exact for a harmless name."""
    folder = f"{item.project_id}/media"
    extension = KINDS[item.kind].extension
    endings = _ENDINGS.get(item.kind, (f".{extension}",))
    if item.name is None:
        return one_of(f"{folder}/{item.key}{ending}" for ending in endings)
    tidy = unicodedata.normalize("NFC", item.name).strip()
    if item.plain_name:
        return f"{folder}/{item.key}_{tidy}"
    return safe_path(folder, item.key, ("",))
