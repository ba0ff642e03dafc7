"""What a poll reads a second time, for the rows that became visible late (ADR 0010)."""

from __future__ import annotations

import structlog

from claimx.domain.errors import ClaimXError
from claimx.domain.polling import Window
from claimx.domain.readings import Readings, middle_of
from claimx.domain.times import MICROS_PER_SECOND, Micros, from_seconds
from claimx.services.runtime import Runtime

log = structlog.get_logger(__name__)

MOST_FINISHED = 5000  # ids that are looked up to see whether the ledger has forgotten some
SKEW_SECONDS = 300.0  # by which clocks of source and ledger may differ
MOST_COUNTED = 40  # spans of one poll; then the rest is read without counting


class Overlap:
    """From *begin*, where a poll begins, up to *end*, where earlier polls have read to."""

    def __init__(self, runtime: Runtime, begin: Micros, end: Micros) -> None:
        self._runtime = runtime
        self._begin = begin
        self._end = end

    def finished(self) -> list[str]:
        """
        Return the ids of events in it that the lake has and the ledger must remember.

        None when the lake cannot say. What the ledger may forget, of a source that was idle for so
        long, is no sign that it is an older copy.
        """
        limits = self._runtime.limits
        kept = limits.dedup_seconds - min(SKEW_SECONDS, limits.dedup_seconds / 10)
        # an event's own time lies somewhat before its ingestion
        begin = max(
            self._begin - from_seconds(limits.poll_overlap),
            from_seconds(self._runtime.ledger.now() - kept),
        )
        if self._end <= max(begin, self._begin):
            return []
        try:
            return self._runtime.lake.recent_events(begin, self._end, MOST_FINISHED)
        except ClaimXError as error:
            log.info("the lake cannot say", error=str(error), category=error.category.value)
            return []

    def unread(self, readings: Readings) -> list[Window]:
        """
        Return the parts that hold other rows than were read, the oldest first.

        The source counts them: all at once, and then in halves where it has others. A part of a
        page's rows is not halved any more, and where nothing was read before there is nothing to
        halve. Raises what the source does.
        """
        if self._end <= self._begin:
            return []
        found: list[Window] = []
        spans = [(self._begin, self._end)]
        counted = 0
        while spans:
            after, until = spans.pop()
            noted = readings.total(after, until)
            if counted < MOST_COUNTED:
                counted += 1
                there = self._runtime.source.count(after, until)
                if there == noted:
                    continue
                middle = middle_of(after, until)
                if noted and middle is not None and there > self._runtime.limits.poll_batch:
                    spans += [(middle, until), (after, middle)]
                    continue
            found.append(Window(after, until))
        return _joined(found)

    def is_left(self, at: Micros, *, begun: bool, half_time: float) -> bool:
        """
        Say whether the rest, from *at*, is left for the next poll, as it takes until *half_time*.

        Else nothing new would ever be read. It is not left before its first page, when it is not
        *begun*: those are the oldest rows, which no later poll may look at.
        """
        if at >= self._end or not begun or self._runtime.now() < half_time:
            return False
        log.warning(
            "the overlap holds more rows than can be read again in time; going on with new ones",
            skipped_seconds=(self._end - at) / MICROS_PER_SECOND,
            setting="CLAIMX_POLL_OVERLAP_SECONDS",
        )
        return True


def _joined(parts: list[Window]) -> list[Window]:
    """Return parts that meet as one."""
    joined: list[Window] = []
    for part in parts:
        if joined and joined[-1].until == part.after:
            joined[-1] = Window(joined[-1].after, part.until)
        else:
            joined.append(part)
    return joined
