"""Ranges of the source that a cursor has set aside, in Redis."""

from __future__ import annotations

from claimx.adapters.ledger.chunks import groups
from claimx.adapters.ledger.connection import Connection
from claimx.domain.cursors import CATCH_UP, Checkpoint, Gap


class GapBook:
    """The part of `RedisLedger` that keeps gaps; a hash a cursor, by where each gap begins."""

    _redis: Connection

    def set_aside(
        self, cursor: str, expected: Checkpoint | None, gap: Gap, most: int, fence: int = 0
    ) -> Checkpoint | None:
        """Move the checkpoint to the gap's end and keep the gap; None when it was moved."""
        known = (expected.version, expected.source_time) if expected else (0, 0)
        kept = (fence, gap.after, gap.until, gap.rows, most)
        found = self._redis.run("set_aside", cursor, *known, *kept, CATCH_UP)
        return None if found is None else Checkpoint(int(found[0]), int(found[1]))

    def gaps(self, cursor: str) -> list[Gap]:
        """Return what is set aside, the oldest first."""
        found = []
        for after, rest in groups(self._redis.run("gaps", cursor), 2):
            until, rows = rest.split()
            found.append(Gap(int(after), int(until), int(rows)))
        return sorted(found, key=lambda gap: gap.after)

    def recount_gap(self, cursor: str, gap: Gap, rows: int) -> bool:
        """Note how many rows are left; False when the gap is not there, or was extended."""
        change = (cursor, gap.after, gap.until, rows, gap.reader)
        return bool(self._redis.run("change_gap", *change))

    def close_gap(self, cursor: str, gap: Gap, read: Checkpoint | None) -> bool:
        """Forget a gap and its reader's checkpoint; False when it is not read to the end."""
        known = (read.version, read.source_time) if read else (0, 0)
        change = (cursor, gap.after, gap.until, "", gap.reader)
        return bool(self._redis.run("change_gap", *change, *known))
