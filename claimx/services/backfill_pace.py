"""When a backfill waits: for a failure to pass, for room among what is in flight, for its rate."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import structlog

from claimx.domain.errors import ClaimXError, ErrorCategory
from claimx.services.backfill_report import BackfillReport, Ending
from claimx.services.pages import pages_wait
from claimx.services.pressure import PAUSE_SECONDS, Pressure, room_comes
from claimx.services.reader_lease import ReaderLease
from claimx.services.runtime import Runtime
from claimx.services.stopped import Stopped

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

INGEST_LOOKS, INGEST_SECONDS = 60, 1.0  # apart, for pages of before to be admitted
PATIENCE_SECONDS = 3600.0  # without any progress of the workers or the source
RETRIES = 6  # in a row, 2 to 64 s apart


class Pace:
    """
    Waits on behalf of a backfill, and keeps its *lease* meanwhile.

    What it waits for stands in the *report* while it does. *rate* is in rows a second; 0 is none.
    """

    def __init__(
        self,
        runtime: Runtime,
        report: BackfillReport,
        sleep: Callable[[float], None],
        progress: Callable[[BackfillReport], None],
        rate: float,
    ) -> None:
        self._runtime = runtime
        self._report = report
        self._sleep = sleep
        self._progress = progress
        self._rate = rate
        self.lease = ReaderLease(runtime, f"poll:{report.cursor}", sleep=self._while_away)

    def with_patience(self, step: Callable[[], _T]) -> _T:
        """Return a step's answer, tried again while its failure may pass; raises the last one."""
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

    def wait_for_pages(self, cursor: str) -> None:
        """Let pages of before be admitted first: a later row could overtake one of its id."""
        waiting = partial(pages_wait, self._runtime, cursor)
        for _ in range(INGEST_LOOKS):
            if not self.with_patience(waiting):
                return
            self._wait(INGEST_SECONDS, "earlier pages are not admitted yet")

    def wait_for_room(self, pressure: Pressure) -> None:
        """Wait until half of what may be in flight is free; raises Stopped after an idle hour."""
        limit = self._runtime.limits.half_in_flight

        def pause(held: int) -> None:
            self._wait(PAUSE_SECONDS, f"{held} in flight, waiting for less than {limit}")

        over = partial(self.with_patience, partial(pressure.over, limit))
        if not room_comes(over, pause, PATIENCE_SECONDS):
            raise Stopped(Ending.PRESSURE)

    def keep(self) -> None:
        """Renew the lease, once there is one; raises Stopped when another has it."""
        if self.lease.held and not self.lease.renewed():
            raise Stopped(Ending.SUPERSEDED)

    def slow_down(self, started: float, rows: int) -> None:
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
            self.keep()
            seconds -= PAUSE_SECONDS
        self._report.waiting = ""
