"""
The lake writer: a batching consumer of the lake stream (design page, section 2).

It reads entries, claims their records, buffers what they say, writes it, and only then settles
them. Killed at any point it leaves leases that end and entries that another writer takes over;
what it had written already is written again, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from claimx.domain.batch import Batch
from claimx.domain.errors import ClaimXError, Malformed
from claimx.domain.ports.gates import Gates
from claimx.domain.ports.lake import Lake
from claimx.domain.ports.ledger import Ledger
from claimx.domain.ports.telemetry import Metrics
from claimx.domain.records import Record, Stage
from claimx.domain.times import seconds_left
from claimx.services.flush import Item, TableWriter
from claimx.services.held import CHUNK, HeldItems
from claimx.services.item_reader import ItemReader
from claimx.services.settle_rows import MAX_BACK_OFF_SECONDS, Settler

log = structlog.get_logger(__name__)

LEASE_SECONDS = 10.0
KNOWN_SECONDS = 24 * 3600.0
BUFFERED_BATCHES = 5  # no more is read once so many batches wait
_READS = 50  # at a step: then leases are looked after again
_IDLE_SECONDS = 1.0
_QUIET_SECONDS = 0.25  # without a new row: what a poll brought is here, so waiting gains nothing
_BACK_OFF_SECONDS = 1.0
_CLOSE_LOCK_WAIT_SECONDS = 5.0


class LakeWriter:
    """
    One consumer. Call `step` until told to stop, then `close`.

    *now* is the wall clock in epoch seconds; *consumer* names this process in the stream's group
    and in the tables' leases; *known_seconds* is the dedup window for media files, *fresh_seconds*
    how long a committed project counts as known. Not for several threads.
    """

    def __init__(
        self,
        ledger: Ledger,
        lake: Lake,
        gates: Gates,
        metrics: Metrics,
        now: Callable[[], float],
        *,
        sleep: Callable[[float], None],
        consumer: str,
        batch_rows: int = 2000,
        batch_seconds: float = 5.0,
        known_seconds: float = KNOWN_SECONDS,
        fresh_seconds: float = 300.0,
        lease_seconds: float = LEASE_SECONDS,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._ledger = ledger
        self._now = now
        self._sleep = sleep
        self._consumer = consumer
        self._lease_seconds = lease_seconds
        self._max_rows = BUFFERED_BATCHES * batch_rows
        self._batch = Batch(batch_rows, batch_seconds, now)
        self._tables = TableWriter(
            lake, gates, metrics, now, sleep=sleep, holder=consumer, fresh_seconds=fresh_seconds
        )
        self._alive = alive  # told in the midst of a long flush, too
        self._held = HeldItems(ledger, now, lease_seconds)
        self._settler = Settler(ledger, self._held, metrics, now, known_seconds)
        self._reader = ItemReader()
        self._quiet = False  # nothing more has come for a moment
        self._retry_at: float | None = None  # some items failed and wait here for another try
        self._closed = False

    @property
    def buffered(self) -> int:
        """Records held."""
        return len(self._held)

    def step(self) -> int:
        """
        Read what has come, and flush if that is due; returns how many records were settled.

        Waits about a second at most when there is nothing to do. An outage of the ledger or the
        lake is logged and waited for, not raised: leases that end meanwhile hand the work on.
        """
        try:
            self._fill()
            self._held.keep_leases()
            return self.flush() if self._due else 0
        except ClaimXError as error:
            log.warning("the ledger does not answer", error=type(error).__name__, why=str(error))
            self._sleep(_IDLE_SECONDS)
            return 0

    def close(self) -> int:
        """Flush, give back what could not be written, end; returns how many were settled."""
        if self._closed:
            return 0
        self._closed = True
        settled = 0
        try:
            # what has failed before is not tried again: the host gives a process half a minute
            failed = [item for item in self._held.items if item.failures]
            self._held.drop(failed)
            settled = self.flush(_CLOSE_LOCK_WAIT_SECONDS)
            self._held.add(failed)
            self._held.release()
        except ClaimXError as error:
            log.warning("closed with records unsettled", count=len(self._held), why=str(error))
        finally:
            self._tables.close()
        return settled

    # reading

    @property
    def _due(self) -> bool:
        if self._retry_at is not None:
            return self._retry_seconds(self._retry_at) <= 0
        return self._batch.due or (self._quiet and self._batch.may_go)

    def _fill(self) -> None:
        """Read what there is, until the batch is old enough or the buffer full; waits only once."""
        self._quiet = False
        if self._held.rows >= self._max_rows:
            self._sleep(min(_IDLE_SECONDS, self._wait_seconds()))
            return
        patience = _QUIET_SECONDS if self._batch.may_go else _IDLE_SECONDS
        block = 0.0 if self._due else min(patience, self._wait_seconds())
        for _ in range(_READS):
            if not self._read(block):
                self._quiet = block > 0
                return
            if self._held.rows >= self._max_rows:
                return
            if self._batch.seconds_left <= 0:
                return
            block = 0.0  # of a backlog one great flush is cheaper than many small ones

    def _wait_seconds(self) -> float:
        left = self._batch.seconds_left
        return left if self._retry_at is None else self._retry_seconds(self._retry_at)

    def _retry_seconds(self, at: float) -> float:
        return seconds_left(at, self._now(), MAX_BACK_OFF_SECONDS)

    def _read(self, block_seconds: float) -> int:
        pairs = self._ledger.read_rows(self._consumer, CHUNK, block_seconds)
        entries: dict[str, list[str]] = {}
        for entry, record_id in pairs:
            entries.setdefault(record_id, []).append(entry)
        if not entries:
            return 0
        stale: list[str] = []
        claimed: list[tuple[str, Record]] = []
        for record in self._ledger.claim(Stage.WRITE, list(entries), self._lease_seconds):
            entry, *doubles = entries.pop(record.id)
            stale += doubles
            claimed.append((entry, record))
        self._take(claimed)
        # whatever was not handed out is done, or leased by another, or put on the stream again
        stale += [entry for doubles in entries.values() for entry in doubles]
        if stale:
            self._ledger.forget_entries(stale)
        return len(pairs)

    def _take(self, claimed: Sequence[tuple[str, Record]]) -> None:
        """Hold what these records say; those that nobody can read are buried, each by itself."""
        items: list[Item] = []
        tables: list[str] = []
        unreadable: list[tuple[Item, str]] = []
        for entry, record in claimed:
            try:
                item, its_tables = self._reader.read(entry, record)
            except Malformed as error:
                unreadable.append((Item(entry, record, []), error.message))
            except Exception as error:  # noqa: BLE001 - whatever it is, these rows can never be written
                reason = f"rows cannot be read ({type(error).__name__})"
                unreadable.append((Item(entry, record, []), reason))
            else:
                items.append(item)
                tables += its_tables
        if items:
            self._held.add(items)
            self._batch.add(tables)
        for item, reason in unreadable:
            self._settler.bury([item], reason)

    # writing

    def flush(self, lock_wait: float | None = None) -> int:
        """Write everything that is buffered, settle what was written; returns how many records."""
        items = self._held.items
        self._reader.forget()
        if not items:
            self._batch.clear()
            self._retry_at = None
            return 0
        options = {} if lock_wait is None else {"lock_wait": lock_wait}
        flushed = self._tables.write(items, self._keep, **options)
        self._batch.clear()
        # until they are settled they stay: if the ledger fails here, they are written once more
        self._retry_at = self._now() + _BACK_OFF_SECONDS
        settled = self._settler.settle(flushed)
        self._retry_at = self._now() + _back_off(self._held.items) if self._held else None
        return settled

    def _keep(self) -> None:
        self._alive()
        self._held.keep_leases_quietly()


def _back_off(items: Sequence[Item]) -> float:
    failures = max(item.failures for item in items)
    return min(MAX_BACK_OFF_SECONDS, _BACK_OFF_SECONDS * float(2 ** max(0, failures - 1)))
