"""A live poll that is far behind sets aside what lies before, and goes on with what is new."""

from __future__ import annotations

import structlog

from claimx.domain.cursors import Checkpoint, Gap
from claimx.domain.polling import LIVE, READ, Window
from claimx.domain.times import MICROS_PER_SECOND, to_iso
from claimx.services.runtime import Runtime

log = structlog.get_logger(__name__)

MOST_GAPS = 8
"""More are kept as one with what lies between; see `Ledger.set_aside`."""


def gap_before(runtime: Runtime, checkpoint: Checkpoint | None, window: Window) -> Gap | None:
    """
    Return what a poll over *window* would have to read before it comes to anything new, if far.

    Far is both: more than `Limits.far_seconds` since the source was last read to its end, and more
    than `Limits.far_pages` full pages of rows since. Only after those seconds the source is asked
    for their number. It begins where the window does, so rows that came late in its overlap are
    in it. Raises what the source does: who cannot count a range could not give pages of it either.
    """
    read = runtime.ledger.checkpoint(READ)
    known = [one.source_time for one in (checkpoint, read) if one is not None]
    at = max([window.after, *known])
    if window.until - at <= runtime.limits.far_seconds * MICROS_PER_SECOND:
        return None
    rows = runtime.source.count(at, window.until)
    if rows <= runtime.limits.far_pages * runtime.limits.poll_batch:
        return None
    return Gap(window.after, window.until, rows)


def set_aside(
    runtime: Runtime, checkpoint: Checkpoint | None, gap: Gap, fence: int
) -> Checkpoint | None:
    """Move the live checkpoint behind *gap* and keep that; None when another poller was faster."""
    moved = runtime.ledger.set_aside(LIVE, checkpoint, gap, MOST_GAPS, fence)
    if moved is not None:
        log.warning(
            "far behind: a gap is set aside, to be caught up beside the live poll",
            since=to_iso(gap.after),
            until=to_iso(gap.until),
            rows=gap.rows,
        )
    return moved
