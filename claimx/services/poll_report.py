"""What a poll did, why it ended, and how far the source is read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import structlog

from claimx.domain.cursors import Checkpoint, Gap
from claimx.domain.errors import ClaimXError, ErrorCategory
from claimx.domain.polling import LIVE, READ, Window
from claimx.domain.ports.gates import Gates
from claimx.domain.ports.ledger import Ledger
from claimx.domain.ports.telemetry import Metrics
from claimx.domain.redaction import mask
from claimx.domain.times import MICROS_PER_SECOND, Micros, to_iso

log = structlog.get_logger(__name__)

TOPIC = "poll"
KEPT_SECONDS = 600.0  # nobody polls any more then; the lag tells that


def read_until(ledger: Ledger) -> Micros | None:
    """Return up to which ingestion time the live poll has read; None before the first one."""
    cursors = (ledger.checkpoint(name) for name in (LIVE, READ))
    return max((one.source_time for one in cursors if one is not None), default=None)


def behind(ledger: Ledger, at: Micros) -> float:
    """Return how many seconds the ingestion time *at* lies before now. Raises Unavailable."""
    return max(0.0, ledger.now() - at / MICROS_PER_SECOND)


def measure_reading(ledger: Ledger, metrics: Metrics) -> None:
    """
    Tell how far the source is read, whatever became of the poll. Raises Unavailable.

    The moment, too: a gauge of seconds stands still with whoever sets it.
    """
    until = read_until(ledger)
    if until is not None:
        metrics.set("poll_until_seconds", until / MICROS_PER_SECOND)
        metrics.set("poll_lag_seconds", behind(ledger, until), cursor=LIVE)


def note_end(gates: Gates, report: PollReport) -> None:
    """Keep why a live poll failed, for the status, until one does not."""
    if report.stopped is Stop.FAILED:
        gates.put_note(TOPIC, LIVE, mask(report.error), KEPT_SECONDS)
    elif report.stopped is not Stop.BUSY:
        gates.drop_notes(TOPIC, [LIVE])


def last_failure(gates: Gates) -> str | None:
    """Return why the last live poll failed; None when it did not, or when that is not known."""
    return gates.notes(TOPIC).get(LIVE)


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
