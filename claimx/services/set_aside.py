"""A live poll that is far behind sets aside what lies before, and goes on with what is new."""

from __future__ import annotations

import structlog

from claimx.domain.cursors import Checkpoint, Gap
from claimx.domain.polling import LIVE, READ, Window
from claimx.domain.times import MICROS_PER_SECOND, Micros, from_seconds, to_iso
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
    return Gap(window.after, _end_of(runtime, Window(at, window.until)), rows)


def _end_of(runtime: Runtime, window: Window) -> Micros:
    """
    Return where what is set aside of *window*, which has rows, ends.

    Where it has none of late, that is where the source ends for now, to the second. The ledger's
    clock may be ahead of the source's: what the source brings until then would lie behind the live
    poll, and behind the gap's reader as well once the gap is closed.
    """
    late = from_seconds(max(1.0, runtime.limits.poll_overlap))
    if runtime.source.count(max(window.after, window.until - late), window.until):
        return window.until
    some_after, end = window.after, window.until - late
    while end - some_after > MICROS_PER_SECOND:
        middle = (some_after + end) // 2
        if runtime.source.count(middle, end):
            some_after = middle
        else:
            end = middle
    return end


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
