"""What becomes of the records that a lake writer holds, once a flush has said how it went."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from claimx.domain.errors import ErrorCategory
from claimx.domain.ports.ledger import Ledger
from claimx.domain.ports.telemetry import Metrics
from claimx.domain.records import Failure, Stage, State, Waited
from claimx.domain.tables import EVENTS
from claimx.domain.times import MICROS_PER_SECOND
from claimx.services.flush import Flushed, Item
from claimx.services.held import HeldItems, chunks
from claimx.services.settle import failure_of

log = structlog.get_logger(__name__)

MAX_FAILURES = 3  # then a record waits in the ledger and makes room
MAX_BACK_OFF_SECONDS = 30.0


class Settler:
    """
    Settles *held* records in the ledger and drops them: written, refused, or failed too often.

    Those whose rows could not be written this time stay held for another try. *known_seconds* is
    how long the ledger remembers an event that is done.
    """

    def __init__(
        self,
        ledger: Ledger,
        held: HeldItems,
        metrics: Metrics,
        now: Callable[[], float],
        known_seconds: float,
    ) -> None:
        self._ledger = ledger
        self._held = held
        self._metrics = metrics
        self._now = now
        self._known_seconds = known_seconds

    def settle(self, flushed: Flushed) -> int:
        """Settle all that needs no other try; returns how many records. Raises Unavailable."""
        settled = self._finish(flushed.done)
        by_reason: dict[str, list[Item]] = {}
        for item, reason in flushed.refused:
            by_reason.setdefault(reason, []).append(item)
        for reason, items in by_reason.items():
            settled += self.bury(items, reason)
        parked = []
        for item, error in flushed.failed:
            item.failures += 1
            if item.failures >= MAX_FAILURES:
                parked.append((item, error))
        self._park(parked)
        return settled

    def _finish(self, done: Sequence[Item]) -> int:
        """Settle what is committed; what the ledger took is dropped, also when it then fails."""
        settled, taken = 0, 0
        try:
            for part in chunks(done):
                pairs = [(item.entry, item.record) for item in part]
                settled += self._ledger.finish(pairs, self._known_seconds)
                taken += len(part)
                self._metrics.add("processed", len(part), stage=Stage.WRITE.value)
                self._observe_lag(part)
        finally:
            self._held.drop(done[:taken])
        return settled

    def bury(self, items: Sequence[Item], reason: str) -> int:
        """Bury records whose rows the lake cannot take; returns how many."""
        failure = Failure(
            category=ErrorCategory.PERMANENT,
            error="RowsRefused",
            message=reason,
            stage=Stage.WRITE,
            at=self._now(),
            reason="the lake cannot take its rows",
        )
        buried = self._ledger.fail_rows([(item.entry, item.record) for item in items], failure)
        self._held.drop(items)
        category = failure.category.value
        self._metrics.add("dead", len(items), stage=Stage.WRITE.value, category=category)
        log.warning("rows refused", count=len(items), reason=reason)
        return buried

    def _park(self, parked: Sequence[tuple[Item, Exception]]) -> None:
        """Let records wait in the ledger: it puts them on the stream again, for any writer."""
        for part in chunks(parked):
            active = [pair for pair in part if pair[0].record.state is not State.DEAD]
            dead = [item.record for item, _ in part if item.record.state is State.DEAD]
            self._ledger.settle(
                [
                    Waited(
                        item.record,
                        MAX_BACK_OFF_SECONDS,
                        failure_of(Stage.WRITE, error, self._now()),
                    )
                    for item, error in active
                ]
            )
            if dead:
                self._ledger.release(dead)
            self._ledger.forget_entries([item.entry for item, _ in part])
            self._held.drop([item for item, _ in part])

    def _observe_lag(self, items: Sequence[Item]) -> None:
        now = self._now()
        lags = [
            max(0.0, now - change.event_time / MICROS_PER_SECOND)
            for item in items
            for change in item.changes
            if change.table == EVENTS.name
        ]
        self._metrics.observe_all("event_lag_seconds", lags)
