"""One reconcile: the source, the ledger and three tables held against each other over a range."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import structlog

from claimx.domain.errors import ClaimXError
from claimx.domain.polling import LIVE, READ
from claimx.domain.tables import EVENTS
from claimx.domain.times import Micros, from_seconds, to_iso
from claimx.services.catch_up_report import progress_of
from claimx.services.first_poll import START
from claimx.services.lease import outlast
from claimx.services.reconcile.admission import Admission
from claimx.services.reconcile.events import EventCheck, named_media
from claimx.services.reconcile.media import (
    ROWS_AT_A_TIME,
    Unattached,
    attachments_of_no_media,
    doubled_media,
)
from claimx.services.reconcile.pieces import Piece, pieces
from claimx.services.reconcile.report import Ending, Finding, Found, ReconcileReport, Told
from claimx.services.reconcile.strangers import Strangers
from claimx.services.runtime import Runtime
from claimx.services.stopped import Stopped

log = structlog.get_logger(__name__)

MARGIN_SECONDS = 300.0
"""
How much further the source is read on both sides of a range, for matching alone: an event's own
time is somewhat before its ingestion.
"""

_BATCH = 1000


def reconcile(
    runtime: Runtime,
    since: Micros,
    until: Micros,
    *,
    sleep: Callable[[float], None],
    fix: bool = False,
    lenient: bool = False,
    seconds: float | None = None,
    following: bool = False,
    told: Told = lambda _found, _admitted: None,
    progress: Callable[[ReconcileReport], None] = lambda _: None,
) -> ReconcileReport:
    """
    Name what is missing, extra or doubled for since <= ingestion time <= until.

    Rows that may still be joined by others of their time, and those that the poller has not come
    to, are left out. With *fix*, exactly what is missing is admitted. *lenient* does not count what
    is from before the pipeline's first poll. After *seconds* the walk ends where it is, and the
    rest is judged up to there. Extra and doubled rows of the media tables count from the range's
    begin until now, or to its end when another range is *following*. *told* gets every finding,
    *progress* the report after each piece.

    Memory is bounded whatever the range holds: a piece of the source and the ids of the last one,
    two million ids of a table at once, and the exceptions up to bounds of their own; see the
    modules beside this one. A Redis that is away is waited for, as `lease.outlast` does. What fails
    for longer ends it, and stands in the report with what was found by then. Raises ValueError for
    a range that ends before it begins.
    """
    if until < since:
        raise ValueError(f"the range ends ({to_iso(until)}) before it begins ({to_iso(since)})")
    settled = from_seconds(runtime.now() - runtime.limits.poll_settle)
    report = ReconcileReport(since, min(until, settled), since)
    try:
        with contextlib.ExitStack() as open_:
            left_behind = outlast(partial(_polled, runtime, report), sleep)
            if left_behind is None:
                return report
            admission = open_.enter_context(Admission(runtime, sleep)) if fix else None
            check = EventCheck(runtime, report, left_behind, sleep=sleep, lenient=lenient)
            run = _Run(runtime, report, check, admission, told, progress, sleep)
            run.walk(settled, runtime.now() + seconds if seconds else None)
            run.tables(following=following)
    except Stopped as stopped:
        report.ending = stopped.ending
    except KeyboardInterrupt:
        report.ending = Ending.INTERRUPTED
    except ClaimXError as error:
        report.ending, report.error, report.category = Ending.FAILED, str(error), error.category
    counts = {name: n for name, n in report.as_dict().items() if n and isinstance(n, int | str)}
    log.info("reconciled", off=report.off, **counts)
    return report


def _polled(runtime: Runtime, report: ReconcileReport) -> Micros | None:
    """
    Cut the range to what has been polled, and return up to when the poller has left rows behind.

    What is later than that it reads once more. None when nothing of the range has been polled.
    """
    live, read, start = (runtime.ledger.checkpoint(name) for name in (LIVE, READ, START))
    reached = max((one.source_time for one in (live, read) if one is not None), default=0)
    report.until = min(report.until, reached)
    for gap in progress_of(runtime.ledger):  # set aside: what its reader has not come to
        if gap.at < report.until and report.since <= gap.gap.until:
            report.until = gap.at
    if report.until < report.since:
        report.until, report.ending = report.since, Ending.NOTHING
        return None
    if live is not None:
        return live.source_time - from_seconds(runtime.limits.poll_overlap)
    return start.source_time if start is not None else 0


class _Run:
    """The steps of one reconcile, in the order that makes a race harmless."""

    def __init__(
        self,
        runtime: Runtime,
        report: ReconcileReport,
        check: EventCheck,
        admission: Admission | None,
        told: Told,
        progress: Callable[[ReconcileReport], None],
        sleep: Callable[[float], None],
    ) -> None:
        self._runtime = runtime
        self._report = report
        self._check = check
        self._admission = admission
        self._sleep = sleep
        self._told = told
        self._progress = progress
        self._strangers = Strangers(runtime, report)
        self._unattached = Unattached(runtime, report, sleep)

    def walk(self, settled: Micros, deadline: float | None) -> None:
        """Go through the source, piece by piece."""
        report, after = self._report, self._report.since - 1
        margin = from_seconds(MARGIN_SECONDS)
        self._tell(self._unattached.collect(after, report.until))
        for piece in self._pieces(max(0, after - margin), after):
            self._strangers.look(piece)
        for piece in self._pieces(after, report.until):
            self._piece(piece)
            if self._out_of_time(deadline) and piece.until < report.until:
                report.ending, report.until = Ending.TIME, piece.until
                break
        for piece in self._pieces(report.until, min(report.until + margin, settled)):
            self._strangers.meet(piece.event_times)
        self._tell(self._strangers.left(report.until))

    def tables(self, *, following: bool) -> None:
        """Look at what the tables alone can tell."""
        after, until = self._report.since - 1, self._report.until
        self._tell(self._doubled_events(after))
        last = until if following else from_seconds(self._runtime.now())
        self._tell(attachments_of_no_media(self._runtime, after, last, self._sleep))
        self._tell(doubled_media(self._runtime, after, last))

    def _piece(self, piece: Piece) -> None:
        found, finished = self._check.judge(piece)
        self._strangers.look(piece)
        named = {
            media_id: piece.rows[one].at
            for one, rows in finished.items()
            for row in rows[:1]
            for media_id in named_media(row)
        }
        self._tell(found)
        self._tell(self._unattached.belonging(piece.event_times, named))
        self._report.reached = piece.until
        self._progress(self._report)
        if self._admission is not None:
            self._admission.keep()

    def _pieces(self, after: Micros, until: Micros) -> Iterator[Piece]:
        return pieces(self._runtime.source, after, until, self._sleep)

    def _doubled_events(self, after: Micros) -> Iterable[Found]:
        beyond = ""
        while ids := self._runtime.lake.audit.repeated(
            EVENTS, after, self._report.until, ROWS_AT_A_TIME, beyond
        ):
            yield from (Found(EVENTS.name, Finding.DOUBLED, one) for one in ids)
            beyond = ids[-1]

    def _tell(self, findings: Iterable[Found]) -> None:
        """Admit what can be, and report every finding with what became of it."""
        remaining = filter(self._report.is_news, findings)
        while batch := list(itertools.islice(remaining, _BATCH)):
            records = {one.record.id: one.record for one in batch if one.record is not None}
            admitted: set[str] = set()
            try:
                if self._admission is not None:
                    self._admission.admit(list(records.values()), admitted)
            finally:
                self._report.admitted.update(records[one].kind for one in admitted)
                for one in batch:
                    mended = one.record is not None and one.record.id in admitted
                    self._report.add(one, admitted=mended)
                    self._told(one, mended)

    def _out_of_time(self, deadline: float | None) -> bool:
        runtime = self._runtime
        return runtime.stopping() or (deadline is not None and runtime.now() >= deadline)
