"""A backfill: the poll over a range of its own, beside the live one, at its leisure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import structlog

from claimx.domain.errors import ClaimXError, ErrorCategory
from claimx.domain.polling import TIME, Window, backfill_cursor, share_done
from claimx.domain.ports.ledger import Checkpoint
from claimx.domain.times import Micros, from_seconds, to_iso
from claimx.services.pages import Pressure, sift, store
from claimx.services.reader_lease import ReaderLease
from claimx.services.runtime import Runtime

log = structlog.get_logger(__name__)

SHARE_OF_FLIGHT = 0.5  # of CLAIMX_MAX_IN_FLIGHT: the live poll always has the other half
PAUSE_SECONDS = 5.0  # well within the lease, which each look renews
PATIENCE_SECONDS = 3600.0  # without any progress of the workers or the source
RETRIES = 6  # in a row, 2 to 64 s apart


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


def backfill(
    runtime: Runtime,
    since: Micros,
    until: Micros,
    *,
    sleep: Callable[[float], None],
    progress: Callable[[BackfillReport], None] = lambda _: None,
    rows_per_second: float = 0.0,
) -> BackfillReport:
    """
    Admit what the source has with since <= ingestion time <= until and nobody knows yet.

    The same range has the same cursor, so a command that was interrupted goes on where it stopped;
    one that had completed reads the range once more. *progress* is called after each page and
    while waiting; *rows_per_second* slows it down, 0 does not. Failures are tried again for some
    minutes, then stand in the report. Raises ValueError for a range that is empty.
    """
    if until < since:
        raise ValueError(f"the range ends ({to_iso(until)}) before it begins ({to_iso(since)})")
    settled = from_seconds(runtime.ledger.now() - runtime.limits.poll_settle)
    name = backfill_cursor(since, until)
    report = BackfillReport(name, since, min(until, settled))
    try:
        with ReaderLease(runtime, f"poll:{name}") as lease:
            if not lease.held:
                report.ending = Ending.BUSY
                return report
            _Run(
                runtime,
                report,
                lease,
                sleep=sleep,
                progress=progress,
                rows_per_second=rows_per_second,
            ).run()
    except KeyboardInterrupt:
        report.ending = Ending.INTERRUPTED
    except ClaimXError as error:
        report.ending, report.error, report.category = Ending.FAILED, str(error), error.category
    log.info(
        "backfill ended",
        ending=report.ending.value,
        cursor=name,
        rows=report.rows,
        fresh=report.fresh,
        known=report.known,
        error=report.error,
    )
    return report


class _Run:
    """One run of a backfill under its lease."""

    def __init__(
        self,
        runtime: Runtime,
        report: BackfillReport,
        lease: ReaderLease,
        *,
        sleep: Callable[[float], None],
        progress: Callable[[BackfillReport], None],
        rows_per_second: float,
    ) -> None:
        self._runtime = runtime
        self._report = report
        self._lease = lease
        self._sleep = sleep
        self._progress = progress
        self._rate = rows_per_second
        self._pressure = Pressure(runtime)
        self._rows_of_page = 0

    def run(self) -> None:
        """Read page after page until the range is dry."""
        runtime, report = self._runtime, self._report
        # a completed run raises the version of this marker, and the next one has a new checkpoint
        marker = f"{report.cursor}:runs"
        runs = runtime.ledger.checkpoint(marker)
        cursor = f"{report.cursor}#{runs.version if runs else 0}"
        checkpoint = runtime.ledger.checkpoint(cursor)
        window = Window(report.since - 1, report.until)
        report.resumed = checkpoint is not None
        at = checkpoint.source_time if checkpoint else window.after
        while at < window.until:
            if ending := self._wait_for_room():
                report.ending = ending
                return
            started = runtime.now()
            page = self._with_patience(partial(self._page, cursor, checkpoint, at))
            if page is None:
                break
            checkpoint, at = page
            if checkpoint is None or not self._keeps():
                report.ending = Ending.SUPERSEDED
                return
            report.share = share_done(window, at)
            self._progress(report)
            self._slow_down(started)
        report.share = 1.0
        runtime.ledger.store_page(marker, runs, report.until, [], self._lease.fence)
        self._progress(report)

    def _page(
        self, cursor: str, checkpoint: Checkpoint | None, at: Micros
    ) -> tuple[Checkpoint | None, Micros] | None:
        """Read and store one page; None when there is none."""
        runtime, report = self._runtime, self._report
        rows = runtime.source.page(at, report.until, runtime.limits.poll_batch)
        if not rows:
            return None
        last = int(rows[-1][TIME])
        sifted = sift(runtime, rows, ask_lake=lambda _: True, lake_may_fail=False)
        moved, _ = store(
            runtime, cursor, checkpoint, sifted, after=at, last=last, fence=self._lease.fence
        )
        self._rows_of_page = len(rows)
        self._pressure.stored(len(sifted.fresh))
        if moved is None:
            moved = self._moved_before(cursor, checkpoint)
        if moved is not None and moved.source_time < last:
            return moved, at  # a part of it is stored: read it again
        if moved is not None:
            report.pages += 1
            report.rows += len(rows)
            report.fresh += len(sifted.fresh)
            report.known += sifted.known
            report.malformed += sifted.malformed
            runtime.metrics.add("poll_rows", len(rows), cursor="backfill")
        return moved, last

    def _moved_before(self, cursor: str, checkpoint: Checkpoint | None) -> Checkpoint | None:
        """
        Return how far the ledger is when a page was refused, None when that is another's doing.

        What failed may have been carried out, wholly or in part, with only its answer lost; tried
        again, it is refused. While the lease is ours nobody else moves the checkpoint.
        """
        found = self._runtime.ledger.checkpoint(cursor)
        return found if found != checkpoint and self._keeps() else None

    def _with_patience(
        self, page: Callable[[], tuple[Checkpoint | None, Micros] | None]
    ) -> tuple[Checkpoint | None, Micros] | None:
        """Try a page again while its failure may pass; raises the last failure."""
        for attempt in range(RETRIES):
            try:
                return page()
            except ClaimXError as error:
                if error.category is ErrorCategory.PERMANENT:
                    raise
                delay = min(max(2.0 ** (attempt + 1), error.retry_after or 0.0), 300.0)
                log.warning(
                    "backfill waits", error=str(error), category=error.category.value, delay=delay
                )
                self._wait(delay, str(error))
        return page()

    def _wait_for_room(self) -> Ending | None:
        """Wait until half of what may be in flight is free; an ending when that takes too long."""
        limit = max(1, int(self._runtime.limits.max_in_flight * SHARE_OF_FLIGHT))
        waited, least = 0.0, float("inf")
        while self._pressure.too_high(limit):
            if (held := self._pressure.in_flight()) < least:
                waited, least = 0.0, held
            if waited >= PATIENCE_SECONDS:
                return Ending.PRESSURE
            self._wait(PAUSE_SECONDS, f"{held} in flight, waiting for less than {limit}")
            waited += PAUSE_SECONDS
            if not self._keeps():
                return Ending.SUPERSEDED
        return None

    def _keeps(self) -> bool:
        """
        Renew the lease; False when another has it for certain.

        A Redis that does not answer sounds the same, so it is asked once more for a minute or two.
        """
        for attempt in range(RETRIES):
            if self._lease.renewed():
                return True
            self._sleep(2.0 ** (attempt + 1))
        return self._lease.renewed()

    def _slow_down(self, started: float) -> None:
        """Sleep away what a page was faster than the rate."""
        if self._rate > 0:
            spare = started + self._rows_of_page / self._rate - self._runtime.now()
            if spare > 0:
                self._wait(spare, "")

    def _wait(self, seconds: float, why: str) -> None:
        """Sleep in steps that keep the lease."""
        self._report.waiting = why
        self._progress(self._report)
        while seconds > 0:
            step = min(seconds, PAUSE_SECONDS)
            self._sleep(step)
            self._lease.renewed()
            seconds -= step
        self._report.waiting = ""
