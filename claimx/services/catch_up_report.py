"""What a run of the catch-up did, and how far each gap is read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from claimx.domain.cursors import Gap
from claimx.domain.polling import LIVE, Window, share_done
from claimx.domain.ports.ledger import Ledger
from claimx.domain.times import MICROS_PER_SECOND, Micros


class Ended(StrEnum):
    """Why a run ended; after all but the first two the next one goes on."""

    NOTHING = "nothing is set aside"
    DONE = "caught up"
    YOUNG = "the rest may still be joined by rows that show late"
    TIME = "out of time"
    PRESSURE = "back-pressure"
    BUSY = "another process is at it"
    SUPERSEDED = "another process was faster"
    FAILED = "failed"


@dataclass(slots=True)
class CatchUpReport:
    """What a run did; *gap* is the one it was at in the end, None once all are caught up."""

    ended: Ended = Ended.NOTHING
    pages: int = 0
    rows: int = 0
    fresh: int = 0
    known: int = 0
    malformed: int = 0
    gap: Gap | None = None
    closed: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a gap is read: up to *at*, the share of its time in [0, 1], and what is left."""

    gap: Gap
    at: Micros
    share: float
    left_seconds: float


def progress_of(ledger: Ledger) -> list[Progress]:
    """Return how far what the live poll has set aside is read, the oldest first."""
    found = []
    for gap in ledger.gaps(LIVE):
        read = ledger.checkpoint(gap.reader)
        at = max(gap.after, read.source_time) if read else gap.after
        left = max(0, gap.until - at) / MICROS_PER_SECOND
        found.append(Progress(gap, at, share_done(Window(gap.after, gap.until), at), left))
    return found
