"""Which media have no attachment row."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from claimx.adapters.lake.antijoin import WINDOW, Read, Side, ids_without
from claimx.adapters.lake.scan import Span
from claimx.domain.audit import time_column
from claimx.domain.tables import ATTACHMENTS, MEDIA
from claimx.domain.times import Micros
from claimx.domain.upsert import COMPLETED


def unattached_ids(
    read: Read,
    limit: int,
    after: str,
    enriched_until: Micros | None,
    window: int = WINDOW,
    *,
    enriched_after: Micros | None = None,
    failed_too: bool = False,
) -> list[str]:
    """Return up to *limit* ids behind *after*, in order; see `Lake.unattached_media`."""
    condition: Any = pc.field("downloadable") == pa.scalar(True)
    span = Span.over(time_column(MEDIA), enriched_after, enriched_until)
    completed = pc.field("status") == pa.scalar(COMPLETED) if failed_too else None
    attached = Side(ATTACHMENTS, completed)
    return ids_without(read, Side(MEDIA, condition, span), attached, limit, after, window)
