"""
The poll: new rows of the source into the ledger, again and again, by one poller at a time.

A crash anywhere leaves the checkpoint where the last stored page put it; the next poll reads on
from there, and what had been stored is known by its ids.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress

from claimx.domain.errors import ClaimXError
from claimx.domain.polling import LIVE, READ, Window, live_window
from claimx.domain.readings import Readings, whole_second
from claimx.domain.records import event_record_id
from claimx.domain.times import Micros, from_seconds
from claimx.services.first_poll import first_poll
from claimx.services.overlap import Overlap
from claimx.services.pages import pages_wait
from claimx.services.poll_pages import PageReader
from claimx.services.poll_report import PollReport, Stop, behind, measure_reading
from claimx.services.reader_lease import ReaderLease
from claimx.services.recover import note_forgotten
from claimx.services.runtime import Runtime
from claimx.services.set_aside import gap_before, set_aside
from claimx.services.standstill import Hold

CYCLE_SECONDS = 25.0
INGEST_LOOKS, INGEST_PAUSE = 20, 0.1  # seconds apart
MEMORY_SECONDS = 600.0  # rows younger than this were not finished before the ledger's oldest copy


def poll_once(
    runtime: Runtime,
    *,
    dry_run: bool = False,
    seconds: float | None = None,
    sleep: Callable[[float], None] | None = None,
) -> PollReport:
    """
    Read the source from the checkpoint on until it is dry, too much is in flight, or time is up.

    Takes *seconds*, by default most of the poll interval and at most 25, plus one query, and reads
    a page of new rows in any case. With *sleep* it first waits a little for pages that the last
    poll has stored to be admitted, instead of leaving all to the next. With *dry_run* nothing is
    locked, stored or sent. Failures of source, ledger and lake end the poll and stand in the
    report; the next one tries again.
    """
    report = PollReport(LIVE, dry_run=dry_run)
    begun = runtime.now()
    budget = min(CYCLE_SECONDS, runtime.limits.poll_interval * 0.9) if seconds is None else seconds
    lease = ReaderLease(runtime, f"poll:{LIVE}")
    try:
        with nullcontext() if dry_run else lease:
            if not (lease.held or dry_run):
                report.stopped = Stop.BUSY
                return report
            _Cycle(runtime, report, lease, begun, budget, sleep).run()
    except ClaimXError as error:
        report.fail(error)
        runtime.metrics.add("failed", stage="poll", category=error.category.value)
    if lease.held:  # who got none would wait for the same Redis once more, and longer
        with suppress(ClaimXError):  # the next poll tells
            measure_reading(runtime.ledger, runtime.metrics)
    report.tell()
    return report


class _Cycle:
    """One poll under its lease."""

    def __init__(
        self,
        runtime: Runtime,
        report: PollReport,
        lease: ReaderLease,
        begun: float,
        budget: float,
        sleep: Callable[[float], None] | None,
    ) -> None:
        self._runtime = runtime
        self._report = report
        self._lease = lease
        self._begun = begun
        self._budget = budget
        self._sleep = sleep
        self._hold = Hold(runtime, lease.fence)
        self._readings = Readings()
        self._pages: PageReader | None = None

    def run(self) -> None:
        """Read page after page."""
        runtime, report = self._runtime, self._report
        report.checkpoint, noted = runtime.ledger.noted_read(LIVE)
        origin, born = first_poll(runtime, self._lease.fence, dry_run=report.dry_run)
        window = self._window(origin)
        if not report.dry_run:
            if stopped := self._cannot_begin(window):
                report.stopped = stopped
                return
            window = self._window(origin)
        read_before = report.checkpoint.source_time if report.checkpoint else window.after
        self._readings = Readings.from_text(noted)
        try:
            at = self._read(window, min(read_before, window.until), born)
        finally:
            self._note_read(window)
        if not report.dry_run:
            self._note_end(at)
        report.lag_seconds = behind(runtime.ledger, max(at, read_before))

    def _read(self, window: Window, read_before: Micros, born: Micros) -> Micros:
        """Read and store pages until there is a reason to stop; returns how far."""
        runtime, report = self._runtime, self._report
        overlap = Overlap(runtime, window.after, read_before)
        finished = overlap.finished()
        lost = bool(finished) and not report.dry_run and self._missing(finished)
        if lost:
            note_forgotten(runtime, self._lease.fence)
        again = overlap.unread(self._readings)
        # over before the next poll comes, which would find this one at work and leave an interval
        # unused; but where look-ups are slow, there must be time for what is read
        deadline = max(self._begun + self._budget, runtime.now() + self._budget / 2)
        half_time = (runtime.now() + deadline) / 2
        pages = self._pages = PageReader(
            runtime,
            report,
            self._lease,
            self._hold,
            ask_lake=self._could_be_old(born),
            deadline=deadline,
            lost=lost,
        )
        report.stopped = Stop.DRY
        for part in again:
            times: list[Micros] = []
            at = pages.read(
                part,
                times.extend,
                leave=lambda at: overlap.is_left(at, begun=report.pages > 0, half_time=half_time),
            )
            self._replace(part, at, times)
            if report.stopped is not Stop.DRY:
                return at
            if at < part.until:
                break
        new = Window(max(window.after, read_before), window.until)
        return pages.read(new, self._readings.tally, read_on=True)

    def _replace(self, part: Window, at: Micros, times: list[Micros]) -> None:
        """Count what was read of *part* anew: all of it, or the whole seconds up to *at*."""
        until = part.until if at >= part.until else whole_second(at)
        if until > part.after:
            self._readings.replace(part.after, until, [time for time in times if time <= until])

    def _note_read(self, window: Window) -> None:
        """
        Note how many rows were read of each second, for the next poll's `Overlap`.

        Without (a crash, another poller's page meanwhile) the next one reads more than it need.
        """
        if self._report.checkpoint is not None and not self._report.dry_run:
            self._readings.forget(window.after)
            text = self._readings.to_text()
            left_out = self._pages.unchecked if self._pages else []
            self._runtime.ledger.note_read(LIVE, self._report.checkpoint, text, left_out)

    def _note_end(self, at: Micros) -> None:
        """Note what others must know of how the poll ended."""
        report, ledger = self._report, self._runtime.ledger
        if report.stopped is Stop.PRESSURE:
            self._hold.begin()
        elif report.stopped is Stop.DRY or (report.stopped is Stop.TIME and report.pages):
            self._hold.end()
        if report.stopped is Stop.DRY:
            # an idle source is no lag: the checkpoint stays at its last row
            ledger.store_page(READ, ledger.checkpoint(READ), at, [])

    def _cannot_begin(self, window: Window) -> Stop | None:
        """Set aside what lies far back; say why the poll cannot go on, if it cannot."""
        runtime, report = self._runtime, self._report
        if self._pages_wait():
            return Stop.INGEST
        if gap := gap_before(runtime, report.checkpoint, window):
            moved = set_aside(runtime, report.checkpoint, gap, self._lease.fence)
            if moved is None:
                return Stop.SUPERSEDED
            report.checkpoint, report.set_aside = moved, gap
        return None

    def _pages_wait(self) -> bool:
        """Say whether earlier pages are still not admitted, after a little patience."""
        looks = 0
        while pages_wait(self._runtime, LIVE):
            if self._sleep is None or looks >= INGEST_LOOKS or self._runtime.stopping():
                return True
            self._sleep(INGEST_PAUSE)
            looks += 1
        return False

    def _window(self, origin: Micros) -> Window:
        """Return what is to be read; nothing that is set aside, or a later row could overtake."""
        limits, now = self._runtime.limits, self._runtime.ledger.now()
        begin = max([origin, *(gap.until for gap in self._runtime.ledger.gaps(LIVE))])
        window = live_window(
            self._report.checkpoint, begin, now, limits.poll_overlap, limits.poll_settle
        )
        self._report.window = window
        return window

    def _could_be_old(self, born: Micros) -> Callable[[Micros], bool]:
        """
        Return what says of an unseen row that the lake may have it.

        That takes a ledger that has forgotten: it was lost (rows from before its birth), put back
        to an older copy, or the row is from beyond its dedup window (old rows).
        """
        memory = max(MEMORY_SECONDS, self._runtime.limits.poll_overlap)
        oldest = from_seconds(self._runtime.ledger.now() - memory)
        return lambda source_time: source_time <= born or source_time < oldest

    def _missing(self, event_ids: list[str]) -> bool:
        """Say whether the ledger lacks some of these finished events: it is an older copy then."""
        ids = {event_record_id(one) for one in event_ids}
        return len(self._runtime.ledger.seen(list(ids))) < len(ids)
