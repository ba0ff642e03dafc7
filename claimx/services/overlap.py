"""What a poll reads a second time, for the rows that became visible late."""

from __future__ import annotations

import structlog

from claimx.domain.errors import ClaimXError
from claimx.domain.times import MICROS_PER_SECOND, Micros, from_seconds
from claimx.services.runtime import Runtime

log = structlog.get_logger(__name__)

MAX_EXCLUDED = 5000  # ids named in a query; the rest is told apart by the ledger


class Overlap:
    """From *begin*, where a poll begins, up to *end*, where earlier polls have read to."""

    def __init__(self, runtime: Runtime, begin: Micros, end: Micros) -> None:
        self._runtime = runtime
        self._begin = begin
        self._end = end

    def finished(self) -> list[str]:
        """Return the ids of events in it that the lake has; none when the lake cannot say."""
        if self._end <= self._begin:
            return []
        overlap = from_seconds(self._runtime.limits.poll_overlap)
        try:  # an event's own time lies somewhat before its ingestion
            return self._runtime.lake.recent_events(self._begin - overlap, self._end, MAX_EXCLUDED)
        except ClaimXError as error:
            log.info("the overlap is read in full", error=str(error), category=error.category.value)
            return []

    def left(self, at: Micros, *, begun: bool, half_time: float) -> Micros:
        """
        Return where to read on from *at*: behind an overlap that takes until *half_time*.

        Else nothing new would ever be read. It is not left before its first page, when it is not
        *begun*: those are the oldest rows, which no later poll may look at.
        """
        if at >= self._end or not begun or self._runtime.now() < half_time:
            return at
        log.warning(
            "the overlap holds more rows than can be read again in time; going on with new ones",
            skipped_seconds=(self._end - at) / MICROS_PER_SECOND,
            setting="CLAIMX_POLL_OVERLAP_SECONDS",
        )
        return self._end
