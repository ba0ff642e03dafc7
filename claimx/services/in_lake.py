"""Which of the events that the ledger has not seen are in the lake already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from claimx.domain.errors import ClaimXError
from claimx.domain.events import Event
from claimx.domain.polling import spans
from claimx.domain.times import Micros
from claimx.services.runtime import Runtime

log = structlog.get_logger(__name__)

FRESH_SECONDS = 30.0
"""How long an empty span is taken for empty: what is finished meanwhile, the ledger has seen."""

FURTHEST = 32
"""How much longer than the events' own span the one may be that is asked for, at the most."""

_MOST_EMPTY = 8  # spans; one row from 1970 in a page has one to itself


@dataclass(frozen=True, slots=True)
class _Empty:
    """A span in which the lake had no event when it was asked."""

    since: Micros
    until: Micros
    asked: float

    def holds(self, since: Micros, until: Micros, now: float) -> bool:
        """Say whether it tells that nothing is in [since, until]."""
        fresh = 0.0 <= now - self.asked < FRESH_SECONDS
        return fresh and self.since <= since and until <= self.until


class InLake:
    """
    Looks events up for one who reads the source page after page.

    Whether anything is there costs a thirtieth of which ids are, in a day of many events; and where
    nothing is, it asks further and further ahead: a backlog that nobody has read yet would
    else cost a look-up for each page. *ask* says by an event's ingestion time whether there is any
    doubt. With *may_fail*, a lake that is away knows nothing: those events are done again, to the
    same rows.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        ask: Callable[[Micros], bool] = lambda _: True,
        may_fail: bool = False,
    ) -> None:
        self._runtime = runtime
        self._ask = ask
        self._may_fail = may_fail
        self._empty: list[_Empty] = []
        self._ahead: Micros = 0  # how long a span the next question is to be about

    def of(self, events: Sequence[Event]) -> set[str]:
        """Return the ids of those that it has; raises what the lake does unless it may fail."""
        found: set[str] = set()
        in_doubt = [event for event in events if self._ask(event.source_time)]
        for since, until in spans(event.time for event in in_doubt):
            ids = [event.event_id for event in in_doubt if since <= event.time <= until]
            try:
                if not self._is_empty(since, until):
                    found |= self._runtime.lake.known_events(ids, since, until)
            except ClaimXError as error:
                if not self._may_fail:
                    raise
                log.warning(
                    "the lake cannot say what it has; these events may be done again",
                    events=len(ids),
                    category=error.category.value,
                    error=str(error),
                )
        return found

    def forget(self) -> None:
        """Take no span for empty any more: the ledger may have lost what was finished meanwhile."""
        self._empty.clear()

    def _is_empty(self, since: Micros, until: Micros) -> bool:
        now = self._runtime.now()
        if any(empty.holds(since, until, now) for empty in self._empty):
            return True
        # no more than twice what was empty: one late row makes a page's own span long at once
        further = max(until, since + min(self._ahead, FURTHEST * (until - since)))
        if self._has_none(since, further):
            self._ahead = 2 * (further - since)
            self._empty = [*self._empty[1 - _MOST_EMPTY :], _Empty(since, further, now)]
            return True
        self._ahead = 0
        return further > until and self._has_none(since, until)

    def _has_none(self, since: Micros, until: Micros) -> bool:
        return not self._runtime.lake.recent_events(since, until, 1)
