"""Which media have no attachment row."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from claimx.adapters.lake.antijoin import WINDOW, Read, Side, ids_without
from claimx.adapters.lake.scan import Span, text
from claimx.domain.tables import ATTACHMENTS, MEDIA
from claimx.domain.upsert import COMPLETED


def unattached_ids(
    read: Read,
    limit: int,
    after: str,
    span: Span | None,
    window: int = WINDOW,
    *,
    failed_too: bool = False,
) -> list[str]:
    """Return up to *limit* ids behind *after*, in order; see `Lake.unattached_media`."""
    condition: Any = pc.field("downloadable") == pa.scalar(True)
    completed = text("status") == pa.scalar(COMPLETED) if failed_too else None
    attached = Side(ATTACHMENTS, completed)
    return ids_without(read, Side(MEDIA, condition, span), attached, limit, after, window)
