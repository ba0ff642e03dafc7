"""How far a backfill is, and why it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from claimx.domain.errors import ErrorCategory
from claimx.domain.times import Micros


class Ending(StrEnum):
    """Why a backfill ended; all but `COMPLETE` go on where they stopped when it is run again."""

    COMPLETE = "complete"
    BUSY = "this backfill is running elsewhere"
    SUPERSEDED = "this backfill was taken over"
    PRESSURE = "the work in flight did not become less"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(slots=True)
class BackfillReport:
    """
    How far a backfill is; *share* of its time lies behind, *resumed* says it had begun before.

    *until* is the end that is really read: the last seconds before now are left to the live poll.
    """

    cursor: str
    since: Micros
    until: Micros
    ending: Ending = Ending.COMPLETE
    resumed: bool = False
    pages: int = 0
    rows: int = 0
    fresh: int = 0
    known: int = 0
    malformed: int = 0
    share: float = 0.0
    waiting: str = ""
    error: str = ""
    category: ErrorCategory | None = None
