"""What a poll did, and why it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import structlog

from claimx.domain.errors import ClaimXError, ErrorCategory
from claimx.domain.polling import Window
from claimx.domain.ports.ledger import Checkpoint, Gap
from claimx.domain.times import to_iso

log = structlog.get_logger(__name__)


class Stop(StrEnum):
    """Why a poll ended."""

    DRY = "dry"
    TIME = "out of time"
    PRESSURE = "back-pressure"
    INGEST = "the last poll's pages are not ingested yet"
    BUSY = "another poller is at work"
    SUPERSEDED = "another poller was faster"
    FAILED = "failed"


@dataclass(slots=True)
class PollReport:
    """
    What one poll did; *rows* were read, *fresh* of them stored in *records* page records.

    *set_aside* was left to the catch-up; *lag_seconds* is how far behind now the source is known
    to be read (None when nothing was learnt); *error* is for people.
    """

    cursor: str
    stopped: Stop = Stop.DRY
    dry_run: bool = False
    pages: int = 0
    rows: int = 0
    fresh: int = 0
    known: int = 0
    malformed: int = 0
    records: int = 0
    window: Window | None = None
    set_aside: Gap | None = None
    checkpoint: Checkpoint | None = None
    lag_seconds: float | None = None
    error: str = ""
    category: ErrorCategory | None = None

    def fail(self, error: ClaimXError) -> None:
        """Note an expected failure, here and in the log."""
        self.stopped, self.error, self.category = Stop.FAILED, str(error), error.category
        write = log.error if error.category is ErrorCategory.PERMANENT else log.warning
        write(
            "poll failed; the next one tries again",
            cursor=self.cursor,
            category=error.category.value,
            error=str(error),
            status=error.status,
        )

    def tell(self) -> None:
        """Log what the poll did, if it did anything."""
        if self.stopped is Stop.FAILED or not self.rows:
            return
        log.info(
            "polled",
            stopped=self.stopped.value,
            pages=self.pages,
            rows=self.rows,
            fresh=self.fresh,
            known=self.known,
            malformed=self.malformed,
            records=self.records,
            dry_run=self.dry_run,
            checkpoint=to_iso(self.checkpoint.source_time) if self.checkpoint else None,
        )
