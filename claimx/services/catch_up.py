"""
Catch-up: what the live poll has set aside is read beside it, the oldest first.

A gap is closed after its reader found nothing more in it, so whatever dies in between leaves a
gap that is read on from its reader's checkpoint. Its reader goes no faster than the workers take:
a live event, which stands in the same queues, finds a few pages before it and never a backlog.
It reads each row once, and so not before rows that show late have had their time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import structlog

from claimx.domain.cursors import Checkpoint, Gap
from claimx.domain.errors import ClaimXError, ErrorCategory
from claimx.domain.polling import LIVE, TIME
from claimx.domain.records import Kind, Stage, State
from claimx.domain.times import Micros, from_seconds, to_iso
from claimx.services.catch_up_report import CatchUpReport, Ended, progress_of
from claimx.services.in_lake import InLake
from claimx.services.met import Met
from claimx.services.pages import pages_wait, sift, store
from claimx.services.pressure import rows_in
from claimx.services.reader_lease import ReaderLease
from claimx.services.recover import mark_of_loss, note_forgotten
from claimx.services.runtime import Runtime
from claimx.services.standstill import CATCH_UP, STANDING_SECONDS, Hold

log = structlog.get_logger(__name__)

AHEAD_PAGES = 3  # rows that wait for a worker: enough to keep some busy while a page is read
RUN_SECONDS = 15.0  # at most, and half of the poll's interval: one child must get to both
LEAST_SECONDS = 2.0
PATIENCE_SECONDS = 2.0  # a worker with one child must get to what it is waited for
PAUSE_SECONDS = 0.1

_LEASE = "poll:catch-up"
_WORKED = (Stage.ENRICH, Stage.DOWNLOAD, Stage.UPLOAD, Stage.RECORD)  # the writer gathers: no queue


def catch_up(
    runtime: Runtime, *, sleep: Callable[[float], None], seconds: float | None = None
) -> CatchUpReport:
    """
    Read on in what is set aside.

    Takes *seconds*, by default half of the poll interval and at most 15, plus one query. Costs one
    read of the ledger when nothing is. Failures of source, ledger and lake end the run and stand in
    the report; the next one tries again.
    """
    report = CatchUpReport()
    if seconds is None:
        seconds = max(LEAST_SECONDS, min(RUN_SECONDS, runtime.limits.poll_interval / 2))
    try:
        if runtime.ledger.gaps(LIVE):
            with ReaderLease(runtime, _LEASE) as lease:
                if not lease.held:
                    report.ended = Ended.BUSY
                    return report
                _Run(runtime, report, lease, sleep, runtime.now() + seconds).run()
                hold = Hold(runtime, lease.fence, CATCH_UP, STANDING_SECONDS)
                if report.ended is Ended.PRESSURE and not report.pages:
                    hold.begin()
                elif report.pages or report.ended in (Ended.DONE, Ended.YOUNG):
                    hold.end()
        _measure(runtime)
    except ClaimXError as error:
        report.ended, report.error = Ended.FAILED, str(error)
        quiet = error.category is ErrorCategory.CIRCUIT_OPEN  # the poll tells, and it lasts
        (log.debug if quiet else log.warning)(
            "catch-up failed; the next run tries again",
            category=error.category.value,
            error=str(error),
            status=error.status,
        )
    if report.rows:
        log.info(
            "caught up some",
            ended=report.ended.value,
            pages=report.pages,
            rows=report.rows,
            fresh=report.fresh,
            known=report.known,
            malformed=report.malformed,
            until=to_iso(report.gap.until) if report.gap else None,
            rows_left=report.gap.rows if report.gap else 0,
        )
    return report


def _measure(runtime: Runtime) -> None:
    found = progress_of(runtime.ledger)
    runtime.metrics.set("catch_up_seconds", sum(one.left_seconds for one in found))
    runtime.metrics.set("catch_up_rows", sum(one.gap.rows for one in found))


class _Run:
    """One run under its lease."""

    def __init__(
        self,
        runtime: Runtime,
        report: CatchUpReport,
        lease: ReaderLease,
        sleep: Callable[[float], None],
        deadline: float,
    ) -> None:
        self._runtime = runtime
        self._report = report
        self._lease = lease
        self._sleep = sleep
        self._deadline = deadline
        self._met = Met()
        self._in_lake = InLake(runtime)
        self._begun: set[str] = set()
        self._lost = False  # this ledger has forgotten events that the lake has
        self._reader: Checkpoint | None = None  # of the gap that is being read
        self._half = runtime.limits.half_in_flight
        self._page_rows = min(runtime.limits.poll_batch, max(1, self._half // 2))

    def run(self) -> None:
        """Read gap after gap."""
        report, ledger = self._report, self._runtime.ledger
        while gaps := ledger.gaps(LIVE):
            report.gap, before = gaps[0], report.rows
            stopped = self._read(report.gap)
            if stopped:
                report.ended = stopped
                left = max(0, report.gap.rows - (report.rows - before))
                ledger.recount_gap(LIVE, report.gap, left)
                report.gap = replace(report.gap, rows=left)
                return
            # one that was extended meanwhile is there again, with its new end
            if ledger.close_gap(LIVE, report.gap, self._reader):
                report.closed += 1
                log.warning(
                    "a gap is caught up",
                    since=to_iso(report.gap.after),
                    until=to_iso(report.gap.until),
                )
            elif ledger.checkpoint(report.gap.reader) != self._reader:
                # an older copy of the ledger was put back: what this run has stored may be lost
                self._met.forget()
                self._in_lake.forget()
                self._begun.clear()
        report.ended, report.gap = Ended.DONE, None

    def _read(self, gap: Gap) -> Ended | None:
        """Read page after page; None when the gap is dry."""
        runtime = self._runtime
        checkpoint = runtime.ledger.checkpoint(gap.reader)
        at: Micros = max(gap.after, checkpoint.source_time) if checkpoint else gap.after
        if gap.reader not in self._begun:
            # what an earlier run left is not seen yet: a later row could overtake one of its id
            if stopped := self._wait_while(lambda: pages_wait(runtime, gap.reader)):
                return stopped
            self._begun.add(gap.reader)
        while True:
            self._reader = checkpoint
            if stopped := self._wait_while(self._full):
                return stopped
            end = min(gap.until, self._complete())
            rows = runtime.source.page(at, end, self._page_rows) if at < end else []
            if not rows:
                return None if end == gap.until else Ended.YOUNG
            last = int(rows[-1][TIME])
            sifted = sift(runtime, rows, self._in_lake, met=self._met)
            if sifted.in_lake:
                self._lost = True
                note_forgotten(runtime, self._lease.fence)
            checkpoint, _ = store(
                runtime,
                gap.reader,
                checkpoint,
                sifted,
                after=at,
                last=last,
                fence=self._lease.fence,
                marks=[mark_of_loss(runtime)] if self._lost else [],
            )
            if checkpoint is None or not self._lease.renewed():
                return Ended.SUPERSEDED
            at = last
            self._report.pages += 1
            self._report.rows += len(rows)
            self._report.fresh += len(sifted.fresh)
            self._report.known += sifted.known
            self._report.malformed += sifted.malformed
            runtime.metrics.add("poll_rows", len(rows), cursor="catch-up")

    def _complete(self) -> Micros:
        """Return up to when rows that show late have shown."""
        limits = self._runtime.limits
        late = max(limits.poll_overlap, limits.poll_settle)
        return from_seconds(self._runtime.ledger.now() - late)

    def _wait_while(self, blocked: Callable[[], bool]) -> Ended | None:
        """Return None when the next page may be read, else why the run is over."""
        patience = self._runtime.now() + PATIENCE_SECONDS
        while not self._over():
            if not blocked():
                return None
            if self._runtime.now() >= patience:
                return Ended.PRESSURE
            self._sleep(PAUSE_SECONDS)
        return Ended.TIME

    def _over(self) -> bool:
        return self._runtime.now() >= self._deadline or self._runtime.stopping()

    def _full(self) -> bool:
        """
        Say whether a page more would take from the live poll.

        Either its half of what may be in flight is used up, or so much waits for a worker that
        live events would wait behind it.
        """
        census = self._runtime.ledger.census(ages=False)
        in_pages = rows_in(self._runtime, census.active.get(Kind.PAGE, 0))
        active = census.active.get(Kind.EVENT, 0) + census.active.get(Kind.MEDIA, 0)
        if in_pages + active + self._page_rows > self._half:
            return in_pages + active > 0
        ready = sum(census.stages.get(stage, {}).get(State.READY, 0) for stage in _WORKED)
        return in_pages + ready > AHEAD_PAGES * self._page_rows
