"""What becomes of the records that a lake writer holds, once a flush has said how it went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import structlog

from claimx.domain.errors import ErrorCategory, category_of
from claimx.domain.ports.ledger import Ledger
from claimx.domain.ports.telemetry import Metric, Metrics
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
        for category, count in Counter(category_of(one) for _, one in flushed.failed).items():
            self._count("failed", count, category)
        parked = []
        for item, error in flushed.failed:
            item.failures += 1
            if item.failures >= MAX_FAILURES:
                parked.append((item, error))
        self._park(parked)
        return settled

    def _finish(self, done: Sequence[Item]) -> int:
        """Settle what is committed; what the ledger took is dropped, also when it then fails."""
        alive, dead = _parted(done)
        done = [*alive, *dead]
        settled, taken = 0, 0
        try:
            for part in (*chunks(alive), *chunks(dead)):
                pairs = [(item.entry, item.record) for item in part]
                ours = self._ledger.finish(pairs, self._known_seconds)
                settled += ours
                taken += len(part)
                if ours and not _is_dead(part[0]):  # those were given up on
                    self._metrics.add("processed", ours, stage=Stage.WRITE.value)
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
        buried = 0
        for part in filter(None, _parted(items)):
            ours = self._ledger.fail_rows([(item.entry, item.record) for item in part], failure)
            buried += ours
            if not _is_dead(part[0]):  # the others only lose their rows
                self._count("failed", ours, failure.category)
                self._count("dead", ours, failure.category)
        self._held.drop(items)
        log.warning("rows refused", count=len(items), reason=reason)
        return buried

    def _park(self, parked: Sequence[tuple[Item, Exception]]) -> None:
        """Let records wait in the ledger: it puts them on the stream again, for any writer."""
        for part in chunks(parked):
            active = [pair for pair in part if not _is_dead(pair[0])]
            dead = [item.record for item, _ in part if _is_dead(item)]
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

    def _count(self, name: Metric, count: int, category: ErrorCategory) -> None:
        if count:
            self._metrics.add(name, count, stage=Stage.WRITE.value, category=category.value)

    def _observe_lag(self, items: Sequence[Item]) -> None:
        now = self._now()
        lags = [
            max(0.0, now - change.event_time / MICROS_PER_SECOND)
            for item in items
            for change in item.changes
            if change.table == EVENTS.name
        ]
        self._metrics.observe_all("event_lag_seconds", lags)


def _is_dead(item: Item) -> bool:
    return item.record.state is State.DEAD


def _parted(items: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """Return those that are at work, and the dead, whose rows were found before they died."""
    return [one for one in items if not _is_dead(one)], [one for one in items if _is_dead(one)]
