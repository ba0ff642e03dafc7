"""Ranges of the source that a cursor has set aside, in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from claimx.domain.cursors import Checkpoint, Gap
from claimx.domain.times import MICROS_PER_SECOND, Micros

Cursors = dict[str, tuple[Checkpoint, int]]


def next_checkpoint(before: Checkpoint | None, to: Micros, now: float) -> Checkpoint:
    """Return a cursor's next checkpoint, whose version is the time unless that stands still."""
    after = before.version + 1 if before else 1
    return Checkpoint(to, max(after, int(now * MICROS_PER_SECOND)))


class Gaps:
    """
    Gaps by cursor and begin, beside the checkpoints; whoever calls holds the ledger's lock.

    *now* gives epoch seconds.
    """

    def __init__(self, cursors: Cursors, now: Callable[[], float]) -> None:
        self._cursors = cursors
        self._now = now
        self._kept: dict[str, dict[Micros, Gap]] = {}

    def of(self, cursor: str) -> list[Gap]:
        """Return a cursor's gaps, the oldest first."""
        return sorted(self._kept.get(cursor, {}).values(), key=lambda gap: gap.after)

    def keep(self, cursor: str, gap: Gap, most: int) -> None:
        """Keep one more, or one of too many in the newest."""
        kept = self._kept.setdefault(cursor, {})
        into = kept.get(gap.after)
        if into is None and len(kept) >= most:
            into = kept[max(kept)]
        if into is not None:
            gap = self._merged(kept, into, gap)
        else:  # what a reader that came too late may have left of an older gap
            self._cursors.pop(gap.reader, None)
        kept[gap.after] = gap

    def change(self, cursor: str, gap: Gap, rows: int | None) -> bool:
        """Note how many rows are left; None forgets the gap. False: not there, or extended."""
        kept = self._kept.get(cursor, {})
        found = kept.get(gap.after)
        if found is None or found.until != gap.until:
            return False
        if rows is None:
            del kept[gap.after]
            self._cursors.pop(gap.reader, None)
        else:
            kept[gap.after] = replace(found, rows=rows)
        return True

    def _merged(self, kept: dict[Micros, Gap], into: Gap, gap: Gap) -> Gap:
        until, rows = max(into.until, gap.until), into.rows + gap.rows
        if into.after > gap.after:
            del kept[into.after]
            self._cursors.pop(into.reader, None)
            return Gap(gap.after, until, rows)
        if (reader := self._cursors.get(into.reader)) and reader[0].source_time > gap.after:
            back = next_checkpoint(reader[0], gap.after, self._now())
            self._cursors[into.reader] = back, reader[1]
        return Gap(into.after, until, rows)
