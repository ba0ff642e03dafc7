"""Large tables take in what waits beside them: soon enough to be right, and at a bounded cost."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable

import structlog

from claimx.domain.columns import Table
from claimx.domain.errors import ClaimXError, Unavailable
from claimx.domain.folding import delay_seconds, is_due
from claimx.domain.ports.gates import Gates
from claimx.domain.ports.lake import Backlog, Folded, LargeTables
from claimx.domain.ports.telemetry import Metrics
from claimx.domain.tables import TABLES
from claimx.domain.times import MICROS_PER_SECOND, seconds_left
from claimx.services.lease import Lease

log = structlog.get_logger(__name__)

LEASE_SECONDS = 10.0
_KEEP_SECONDS = 2.0
_LOOK_SECONDS = 5.0
_LOOK_ANYWAY_SECONDS = 60.0  # at tables beside which nothing waited
_BACK_OFF_SECONDS = 30.0  # doubled with each failure of a table
_MAX_BACK_OFF_SECONDS = 900.0  # what a fold that fails has written stays for two days


class FoldKeeper:
    """
    Folds what is due, one table after the other, under a lease for each.

    Several processes may have one: whoever gets a table's lease folds it. A killed one's ends
    after `LEASE_SECONDS`, and the next begins anew with what is left.
    """

    def __init__(
        self,
        lake: LargeTables,
        gates: Gates,
        metrics: Metrics,
        now: Callable[[], float],
        *,
        holder: str,
        tables: Iterable[Table] = tuple(TABLES.values()),
    ) -> None:
        self._lake = lake
        self._gates = gates
        self._metrics = metrics
        self._now = now
        self._holder = holder
        self._tables = [table for table in tables if not table.insert_only]
        self._look_at = dict.fromkeys((table.name for table in self._tables), 0.0)
        self._failures: Counter[str] = Counter()
        self._stopped = threading.Event()
        self._kept_at = 0.0

    def run(self) -> None:
        """Fold until `stop`; outlives whatever happens."""
        while not self._stopped.wait(_LOOK_SECONDS):
            for table in self._tables:
                if self._stopped.is_set():
                    return
                self.guarded(table)

    def stop(self) -> None:
        """End within about two seconds; what is not folded waits on."""
        self._stopped.set()

    def look(self, table: Table) -> Folded | None:
        """Fold a table if that is due and nobody else is at it."""
        now = self._now()
        if seconds_left(self._look_at[table.name], now, _MAX_BACK_OFF_SECONDS):
            return None
        backlog = self._lake.backlog(table)
        self._measure(table, backlog, now)
        if not backlog.changes:
            self._look_at[table.name] = now + _LOOK_ANYWAY_SECONDS
            return None
        if not is_due(backlog, now):
            return None
        lease = self._lease(table)
        try:
            ours = lease.take()
        except Unavailable:  # no failure of the fold: the next look asks again
            return None
        return self._folded(table, lease) if ours else None

    def guarded(self, table: Table) -> None:
        """Do what `look` does, and leave a table alone for a while that fails."""
        try:
            if self.look(table) is not None:
                self._failures.pop(table.name, None)
        except ClaimXError as error:
            log.warning(
                "a large table could not take in what waits; it is tried again",
                table=table.name,
                category=error.category.value,
                error=str(error),
                seconds=self._back_off(table),
            )
        except Exception:
            seconds = self._back_off(table)
            log.exception(
                "a large table could not take in what waits", table=table.name, seconds=seconds
            )

    def fold(self, table: Table) -> Folded | None:
        """
        Fold a table now; None when another process is at it.

        Raises as the lake does, and Unavailable when Redis cannot say who is at it.
        """
        lease = self._lease(table)
        return self._folded(table, lease) if lease.take() else None

    def _lease(self, table: Table) -> Lease:
        return Lease(self._gates, f"fold:{table.name}", self._holder, LEASE_SECONDS)

    def _folded(self, table: Table, lease: Lease) -> Folded:
        started = self._kept_at = self._now()
        try:
            done = self._lake.fold(table, lambda: self._keep(lease))
        finally:
            lease.give_back()
        seconds = self._now() - started
        self._metrics.observe("fold_seconds", seconds, table=table.name)
        if done.ended:
            log.info(
                "a large table took in what waited",
                table=table.name,
                changes=done.changes,
                inserted=done.inserted,
                updated=done.updated,
                pieces=done.pieces,
                laid_out=done.laid_out,
                seconds=round(seconds, 1),
            )
            self._measure(table, self._lake.backlog(table), self._now())
        return done

    def _back_off(self, table: Table) -> float:
        doublings = min(self._failures[table.name], 16)  # more would be no number after ten days
        seconds = min(_MAX_BACK_OFF_SECONDS, _BACK_OFF_SECONDS * 2.0**doublings)
        self._failures[table.name] += 1
        self._look_at[table.name] = self._now() + seconds
        return seconds

    def _keep(self, lease: Lease) -> bool:
        """Say whether to go on: while the lease is ours, which it is to its end without Redis."""
        if self._stopped.is_set():
            return False
        now = self._now()
        if 0 <= now - self._kept_at < _KEEP_SECONDS:
            return True
        try:
            ours = lease.take()
        except Unavailable:
            return 0 <= now - self._kept_at < LEASE_SECONDS
        self._kept_at = now
        return ours

    def _measure(self, table: Table, backlog: Backlog, now: float) -> None:
        waits = 0.0 if backlog.oldest is None else now - backlog.oldest / MICROS_PER_SECOND
        self._metrics.set("fold_changes", backlog.changes, table=table.name)
        self._metrics.set("fold_wait_seconds", max(0.0, waits), table=table.name)
        late = waits - 3 * delay_seconds(backlog.rows)
        if late > 0:
            log.warning(
                "a large table is late with what waits",
                table=table.name,
                changes=backlog.changes,
                seconds=round(waits),
            )
