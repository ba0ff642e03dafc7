"""Where and when this ledger's first poll began, as all later ones must know it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from claimx.domain.polling import LIVE
from claimx.domain.times import Micros, from_datetime, from_seconds
from claimx.services.runtime import Runtime

START = f"{LIVE}:start"
"""A cursor that never moves: from where on the first poll has read."""

BORN = f"{LIVE}:born"
"""Another one: when that was, by the ledger's clock."""


MOST_BEHIND_SECONDS = 86_400.0
"""A poller's clock that is further behind the ledger's is not believed: it would read for years."""


def first_poll(runtime: Runtime, fence: int, *, dry_run: bool) -> tuple[Micros, Micros]:
    """
    Return where this ledger's first poll began reading, and when that was.

    Kept beside the checkpoint from the very first poll on: else an empty source would let the
    start slide along with the clock, over rows of a time when nobody polled.
    """
    birth = _fixed(runtime, BORN, lambda: from_seconds(runtime.ledger.now()), fence, dry_run)
    return _fixed(runtime, START, lambda: _first_start(runtime), fence, dry_run), birth


def _fixed(
    runtime: Runtime, cursor: str, first: Callable[[], Micros], fence: int, dry_run: bool
) -> Micros:
    """Return where *cursor* is; where it is nowhere it is put at *first*, unless another did so."""
    ledger = runtime.ledger
    if at := ledger.checkpoint(cursor):
        return at.source_time
    begin = first()
    if not dry_run:
        at = ledger.store_page(cursor, None, begin, [], fence) or ledger.checkpoint(cursor)
    return at.source_time if at else begin


def _first_start(runtime: Runtime) -> Micros:
    """
    Return where a poller without a checkpoint begins: a fixed time, or a span back from now.

    By its own clock where the ledger's is ahead: what lies before the start is never read, while
    a start that is too early costs look-ups.
    """
    start = runtime.limits.poll_start
    if isinstance(start, datetime):
        return from_datetime(start)
    now = runtime.ledger.now()
    ahead = now - runtime.now()
    return from_seconds(now - start - (ahead if 0 < ahead <= MOST_BEHIND_SECONDS else 0.0))
