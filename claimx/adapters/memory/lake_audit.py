"""What reconcile asks of the tables, over those in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from claimx.domain.audit import time_column
from claimx.domain.changes import Values
from claimx.domain.columns import Table
from claimx.domain.tables import ATTACHMENTS, EVENTS, MEDIA
from claimx.domain.times import Micros

_OF_EVENTS = (
    *("event_id", "event_type", "project_id", "media_id", "media_ids", "task_assignment_id"),
    "ingested_at",
)
_OF_ATTACHMENTS = ("media_id", "project_id", "event_id", "status")


class MemoryAudit:
    """`LakeAudit` over *rows*, which gives all rows of a table."""

    def __init__(self, rows: Callable[[Table], list[Values]]) -> None:
        self._rows = rows

    def events(self, ids: Sequence[str], since: Micros, until: Micros) -> list[Values]:
        """See `LakeAudit.events`."""
        wanted = set(ids)
        return [
            {name: row[name] for name in _OF_EVENTS}
            for row in self._among(EVENTS, since - 1, until)
            if row["event_id"] in wanted
        ]

    def other_events(
        self, known: Sequence[str], after: Micros, until: Micros, limit: int, beyond: str = ""
    ) -> list[str]:
        """See `LakeAudit.other_events`."""
        names = {row["event_id"] for row in self._among(EVENTS, after, until)}
        return _behind(names - set(known), limit, beyond)

    def repeated(
        self, table: Table, after: Micros, until: Micros, limit: int, beyond: str = ""
    ) -> list[str]:
        """See `LakeAudit.repeated`."""
        counts = Counter(row[table.key[0]] for row in self._among(table, after, until))
        return _behind((key for key, count in counts.items() if count > 1), limit, beyond)

    def media_in(self, table: Table, ids: Sequence[str]) -> set[str]:
        """See `LakeAudit.media_in`."""
        return set(ids) & {row["media_id"] for row in self._rows(table)}

    def attachments_without_media(
        self, after: Micros, until: Micros, limit: int, beyond: str = ""
    ) -> list[Values]:
        """See `LakeAudit.attachments_without_media`."""
        rows = {row["media_id"]: row for row in self._among(ATTACHMENTS, after, until)}
        lost = rows.keys() - self.media_in(MEDIA, list(rows))
        return [
            {name: rows[one][name] for name in _OF_ATTACHMENTS}
            for one in _behind(lost, limit, beyond)
        ]

    def _among(self, table: Table, after: Micros, until: Micros) -> list[Values]:
        column = time_column(table)
        return [
            row for row in self._rows(table) if row[column] is None or after < row[column] <= until
        ]


def _behind(ids: Iterable[str], limit: int, beyond: str) -> list[str]:
    return sorted(one for one in ids if one > beyond)[:limit]
