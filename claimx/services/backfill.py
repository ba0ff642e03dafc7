"""A backfill: the poll over a range of its own, beside the live one, at its leisure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import structlog

from claimx.domain.cursors import Checkpoint, Mark
from claimx.domain.errors import ClaimXError, ErrorCategory
from claimx.domain.polling import TIME, Window, backfill_cursor, share_done
from claimx.domain.times import Micros, from_seconds, to_iso
from claimx.services.backfill_report import BackfillReport, Ending
from claimx.services.in_lake import InLake
from claimx.services.met import Met
from claimx.services.pages import Pressure, Sifted, pages_wait, sift, store
from claimx.services.reader_lease import ReaderLease
from claimx.services.runtime import Runtime

__all__ = ["BackfillReport", "Ending", "backfill"]

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

SHARE_OF_FLIGHT = 0.5  # of CLAIMX_MAX_IN_FLIGHT: the live poll always has the other half
PAUSE_SECONDS = 5.0  # well within the lease, which each look renews
INGEST_LOOKS, INGEST_SECONDS = 60, 1.0  # apart, for pages of before to be admitted
PATIENCE_SECONDS = 3600.0  # without any progress of the workers or the source
RETRIES = 6  # in a row, 2 to 64 s apart


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
    while waiting; *rows_per_second* slows it down, 0 does not. Failures of source, lake and ledger
    are tried again for some minutes, then stand in the report. Raises ValueError for a range that
    is empty.
    """
    if until < since:
        raise ValueError(f"the range ends ({to_iso(until)}) before it begins ({to_iso(since)})")
    report = BackfillReport(backfill_cursor(since, until), since, until)
    try:
        _Run(runtime, report, sleep=sleep, progress=progress, rows_per_second=rows_per_second).run()
    except _Stopped as stopped:
        report.ending = stopped.ending
    except KeyboardInterrupt:
        report.ending = Ending.INTERRUPTED
    except ClaimXError as error:
        report.ending, report.error, report.category = Ending.FAILED, str(error), error.category
    log.info(
        "backfill ended",
        ending=report.ending.value,
        cursor=report.cursor,
        rows=report.rows,
        fresh=report.fresh,
        known=report.known,
        error=report.error,
    )
    return report


class _Stopped(Exception):
    """It cannot go on, and why; what was stored stays."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending)
        self.ending = ending


@dataclass(frozen=True, slots=True)
class _Page:
    """
    What was read up to *last*, no *rows* when there were none any more.

    *moved* is the checkpoint once it was stored, None where the ledger refused it.
    """

    last: Micros
    moved: Checkpoint | None
    sifted: Sifted
    rows: int


class _Run:
    """One run of a backfill."""

    def __init__(
        self,
        runtime: Runtime,
        report: BackfillReport,
        *,
        sleep: Callable[[float], None],
        progress: Callable[[BackfillReport], None],
        rows_per_second: float,
    ) -> None:
        self._runtime = runtime
        self._report = report
        self._sleep = sleep
        self._progress = progress
        self._rate = rows_per_second
        self._in_lake = InLake(runtime)
        self._met = Met()
        self._anew = True  # pages may wait whose ids are not among those met
        self._lease = ReaderLease(runtime, f"poll:{report.cursor}", sleep=self._while_away)

    def run(self) -> None:
        """Read the range under the lease; raises _Stopped when it cannot."""
        runtime, report = self._runtime, self._report
        now = self._with_patience(runtime.ledger.now)
        report.until = min(report.until, from_seconds(now - runtime.limits.poll_settle))
        with self._lease:
            if not self._lease.held:
                raise _Stopped(Ending.BUSY)
            self._read()
        report.share = 1.0
        self._progress(report)

    def _read(self) -> None:
        """Read page after page until the range is dry, and that is noted."""
        runtime, report = self._runtime, self._report
        # a completed run raises the version of this marker, and the next one has a new checkpoint
        marker = f"{report.cursor}:runs"
        runs = self._checkpoint(marker)
        cursor = f"{report.cursor}#{runs.version if runs else 0}"
        checkpoint = self._checkpoint(cursor)
        pressure = self._with_patience(partial(Pressure, runtime))
        window = Window(report.since - 1, report.until)
        report.resumed = checkpoint is not None
        at = checkpoint.source_time if checkpoint else window.after
        while True:
            if at < window.until:
                self._wait_for_pages(cursor)
                self._wait_for_room(pressure)
            started = runtime.now()
            page = self._with_patience(
                partial(self._page, cursor, checkpoint, at, partial(self._complete, marker, runs))
            )
            moved = page.moved or self._where(cursor, checkpoint)
            whole = moved is not None and moved.source_time >= page.last
            if whole and page.rows:
                pressure.stored(len(page.sifted.fresh))
                self._count(page)
            self._keep()
            if whole and not page.rows:
                return
            # of one that is not, the rest; and what an older copy of the ledger does not know of
            checkpoint, at = moved, moved.source_time if moved else window.after
            if not whole:
                continue
            report.share = share_done(window, at)
            self._progress(report)
            self._slow_down(started, page.rows)

    def _page(
        self,
        cursor: str,
        checkpoint: Checkpoint | None,
        at: Micros,
        complete: Callable[[], Mark],
    ) -> _Page:
        """
        Read and store one page, or that there is none.

        That goes with the checkpoint: where an older copy of the ledger was put back, what the last
        pages held is lost, and the range is not read to its end.
        """
        runtime, report, fence = self._runtime, self._report, self._lease.fence
        left = at < report.until
        rows = runtime.source.page(at, report.until, runtime.limits.poll_batch) if left else []
        if not rows:
            last = max(at, report.until)
            moved = runtime.ledger.store_page(cursor, checkpoint, last, [], fence, [complete()])
            return _Page(last, moved, Sifted(), 0)
        last = int(rows[-1][TIME])
        try:
            sifted = sift(runtime, rows, self._in_lake, met=self._met)
            moved, _ = store(runtime, cursor, checkpoint, sifted, after=at, last=last, fence=fence)
        except ClaimXError:
            self._forget()  # or what is read again would be taken for its own double
            raise
        return _Page(last, moved, sifted, len(rows))

    def _forget(self) -> None:
        self._met.forget()
        self._in_lake.forget()
        self._anew = True

    def _complete(self, marker: str, runs: Checkpoint | None) -> Mark:
        """Return what says that this run is over: the marker goes to a later time."""
        later = runs.source_time + 1 if runs else 0
        now = max(later, from_seconds(self._runtime.ledger.now()))
        return Mark(marker, now, now)

    def _where(self, cursor: str, checkpoint: Checkpoint | None) -> Checkpoint | None:
        """
        Return how far the ledger is that has refused a page, to go on from there.

        What failed may have been carried out, wholly or in part, with only its answer lost; tried
        again, it is refused. Or an older copy was put back. While the lease is ours nobody else
        moves the checkpoint; if it is where it was, a greater fence than ours has stored.
        """
        found = self._checkpoint(cursor)
        self._keep()
        if found == checkpoint:
            raise _Stopped(Ending.SUPERSEDED)
        self._forget()
        return found

    def _checkpoint(self, cursor: str) -> Checkpoint | None:
        return self._with_patience(partial(self._runtime.ledger.checkpoint, cursor))

    def _count(self, page: _Page) -> None:
        report, sifted = self._report, page.sifted
        report.pages += 1
        report.rows += page.rows
        report.fresh += len(sifted.fresh)
        report.known += sifted.known
        report.malformed += sifted.malformed
        self._runtime.metrics.add("poll_rows", page.rows, cursor="backfill")

    def _with_patience(self, step: Callable[[], _T]) -> _T:
        """Try a step again while its failure may pass; raises the last failure."""
        for attempt in range(RETRIES):
            try:
                return step()
            except ClaimXError as error:
                if error.category is ErrorCategory.PERMANENT:
                    raise
                delay = min(max(2.0 ** (attempt + 1), error.retry_after or 0.0), 300.0)
                log.warning(
                    "backfill waits", error=str(error), category=error.category.value, delay=delay
                )
                self._wait(delay, str(error))
        return step()

    def _wait_for_pages(self, cursor: str) -> None:
        """Let pages of before be admitted first: a later row could overtake one of its id."""
        waiting = partial(pages_wait, self._runtime, cursor)
        for _ in range(INGEST_LOOKS):
            if not self._anew or not self._with_patience(waiting):
                break
            self._wait(INGEST_SECONDS, "earlier pages are not admitted yet")
        self._anew = False

    def _wait_for_room(self, pressure: Pressure) -> None:
        """Wait until half of what may be in flight is free; stops when that takes too long."""
        limit = max(1, int(self._runtime.limits.max_in_flight * SHARE_OF_FLIGHT))
        waited, least = 0.0, float("inf")
        while held := self._with_patience(partial(pressure.over, limit)):
            if held < least:
                waited, least = 0.0, held
            if waited >= PATIENCE_SECONDS:
                raise _Stopped(Ending.PRESSURE)
            self._wait(PAUSE_SECONDS, f"{held} in flight, waiting for less than {limit}")
            waited += PAUSE_SECONDS

    def _keep(self) -> None:
        """Renew the lease, once there is one; stops when another has it."""
        if self._lease.held and not self._lease.renewed():
            raise _Stopped(Ending.SUPERSEDED)

    def _slow_down(self, started: float, rows: int) -> None:
        """Sleep away what a page was faster than the rate."""
        if self._rate > 0:
            whole = rows / self._rate
            spare = min(whole, started + whole - self._runtime.now())  # a clock may be set back
            if spare > 0:
                self._wait(spare, "")

    def _while_away(self, seconds: float) -> None:
        """Sleep while Redis cannot be asked for the lease."""
        why, self._report.waiting = self._report.waiting, "Redis does not answer"
        self._progress(self._report)
        self._sleep(seconds)
        self._report.waiting = why

    def _wait(self, seconds: float, why: str) -> None:
        """Sleep in steps that keep the lease."""
        self._report.waiting = why
        self._progress(self._report)
        while seconds > 0:
            self._sleep(min(seconds, PAUSE_SECONDS))
            self._keep()
            seconds -= PAUSE_SECONDS
        self._report.waiting = ""
