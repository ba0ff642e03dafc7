"""By which of its times a row belongs to a range, when the tables are held against each other."""

from __future__ import annotations

from collections.abc import Mapping

from claimx.domain.columns import Table
from claimx.domain.tables import ATTACHMENTS, EVENTS, MEDIA

_TIMES: Mapping[str, str] = {
    EVENTS.name: "ingested_at",
    MEDIA.name: "last_enriched_at",
    ATTACHMENTS.name: "updated_at",
}

CLOCKS_APART_SECONDS = 900.0
"""How far the clocks of two machines may differ, for who compares what they wrote."""


def time_column(table: Table) -> str:
    """
    Return the column of an audited table; a row that is null there belongs to every range.

    All three are known to the Delta log, file by file, so a range costs about what it holds.
    """
    return _TIMES[table.name]
