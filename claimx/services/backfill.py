"""A backfill: the poll over a range of its own, beside the live one, at its leisure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from claimx.domain.cursors import Checkpoint, Mark
from claimx.domain.errors import ClaimXError
from claimx.domain.polling import TIME, Window, backfill_cursor, share_done
from claimx.domain.times import Micros, from_seconds, to_iso
from claimx.services.backfill_pace import Pace
from claimx.services.backfill_report import BackfillReport, Ending
from claimx.services.in_lake import InLake
from claimx.services.met import Met
from claimx.services.pages import Sifted, sift, store
from claimx.services.pressure import Pressure
from claimx.services.runtime import Runtime
from claimx.services.stopped import Stopped

log = structlog.get_logger(__name__)


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
    pace = Pace(runtime, report, sleep, progress, rows_per_second)
    try:
        _Run(runtime, report, pace, progress).run()
    except Stopped as stopped:
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
        pace: Pace,
        progress: Callable[[BackfillReport], None],
    ) -> None:
        self._runtime = runtime
        self._report = report
        self._progress = progress
        self._pace = pace
        self._in_lake = InLake(runtime)
        self._met = Met()
        self._anew = True  # pages may wait whose ids are not among those met
        self._lease = pace.lease

    def run(self) -> None:
        """Read the range under the lease; raises Stopped when it cannot."""
        runtime, report = self._runtime, self._report
        now = self._pace.with_patience(runtime.ledger.now)
        report.until = min(report.until, from_seconds(now - runtime.limits.poll_settle))
        with self._lease:
            if not self._lease.held:
                raise Stopped(Ending.BUSY)
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
        pressure = self._pace.with_patience(partial(Pressure, runtime))
        window = Window(report.since - 1, report.until)
        report.resumed = checkpoint is not None
        at = checkpoint.source_time if checkpoint else window.after
        while True:
            if at < window.until:
                if self._anew:
                    self._pace.wait_for_pages(cursor)
                    self._anew = False
                self._pace.wait_for_room(pressure)
            started = runtime.now()
            page = self._pace.with_patience(
                partial(self._page, cursor, checkpoint, at, partial(self._complete, marker, runs))
            )
            moved = page.moved or self._where(cursor, checkpoint)
            whole = moved is not None and moved.source_time >= page.last
            if whole and page.rows:
                pressure.stored(len(page.sifted.fresh))
                self._count(page)
            self._pace.keep()
            if whole and not page.rows:
                return
            # of one that is not, the rest; and what an older copy of the ledger does not know of
            checkpoint, at = moved, moved.source_time if moved else window.after
            if not whole:
                continue
            report.share = share_done(window, at)
            self._progress(report)
            self._pace.slow_down(started, page.rows)

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
        self._pace.keep()
        if found == checkpoint:
            raise Stopped(Ending.SUPERSEDED)
        self._forget()
        return found

    def _checkpoint(self, cursor: str) -> Checkpoint | None:
        return self._pace.with_patience(partial(self._runtime.ledger.checkpoint, cursor))

    def _count(self, page: _Page) -> None:
        report, sifted = self._report, page.sifted
        report.pages += 1
        report.rows += page.rows
        report.fresh += len(sifted.fresh)
        report.known += sifted.known
        report.malformed += sifted.malformed
        self._runtime.metrics.add("poll_rows", page.rows, cursor="backfill")
