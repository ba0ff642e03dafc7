"""Where and when this ledger's first poll began, as all later ones must know it."""

from __future__ import annotations

from datetime import datetime

from claimx.domain.polling import LIVE
from claimx.domain.times import Micros, from_datetime, from_seconds
from claimx.services.runtime import Runtime

START = f"{LIVE}:start"
"""A cursor that never moves: from where on the first poll has read."""

BORN = f"{LIVE}:born"
"""Another one: when that was, by the ledger's clock."""


def first_poll(runtime: Runtime, fence: int, *, dry_run: bool) -> tuple[Micros, Micros]:
    """
    Return where this ledger's first poll began reading, and when that was.

    Kept beside the checkpoint from the very first poll on: else an empty source would let the
    start slide along with the clock, over rows of a time when nobody polled.
    """
    kept, since = runtime.ledger.checkpoint(START), runtime.ledger.checkpoint(BORN)
    origin = kept.source_time if kept else _first_start(runtime)
    birth = since.source_time if since else from_seconds(runtime.ledger.now())
    if not dry_run:
        if since is None:
            runtime.ledger.store_page(BORN, None, birth, [], fence)
        if kept is None:
            runtime.ledger.store_page(START, None, origin, [], fence)
    return origin, birth


def _first_start(runtime: Runtime) -> Micros:
    """Return where a poller without a checkpoint begins: a fixed time, or a span back from now."""
    start = runtime.limits.poll_start
    if isinstance(start, datetime):
        return from_datetime(start)
    return from_seconds(runtime.ledger.now() - start)
