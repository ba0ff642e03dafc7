"""`claimx.domain.ports.ledger.Ledger` in one process, on a clock of the caller's."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from claimx.adapters.memory.ledger_admission import MemoryAdmission
from claimx.adapters.memory.ledger_census import census_of
from claimx.adapters.memory.ledger_letters import letters_of, requeue
from claimx.adapters.memory.ledger_outcomes import carry_out, prepared
from claimx.adapters.memory.ledger_records import GRACE_SECONDS, Records, has_come
from claimx.adapters.memory.ledger_rows import MemoryWriterDesk
from claimx.adapters.memory.ledger_state import Kept
from claimx.domain.records import (
    Census,
    DeadFilter,
    DeadLetter,
    Failure,
    Kind,
    Outcome,
    Record,
    Stage,
    State,
    page_record_id,
)

UNREAD_SECONDS = 60.0
TAKEOVER_SECONDS = 15.0


class MemoryLedger(MemoryAdmission):
    """
    A ledger that ends with its process; safe for several threads.

    *clock* gives epoch seconds. `read_rows` never waits. The census is counted from the records,
    so that it can disprove the counters.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        *,
        dedup_seconds: float = 86_400.0,
        takeover_seconds: float = TAKEOVER_SECONDS,
    ) -> None:
        super().__init__(Records(clock, dedup_seconds))
        self._clock = clock
        self._desk = MemoryWriterDesk(self._records, takeover_seconds)

    def ping(self) -> None:
        """Answer."""

    def now(self) -> float:
        """Return the clock's time."""
        return self._clock()

    # stages

    def claim(self, stage: Stage, ids: Sequence[str], lease_seconds: float) -> list[Record]:
        """Lease those of *ids* that are in *stage*, due and not leased."""
        with self._lock:
            now, lease = self._clock(), f"lease-{next(self._numbers)}"
            found = []
            for record_id in dict.fromkeys(ids):
                kept = self._records.by_id.get(record_id)
                if kept is None or kept.waits_in is not stage or not has_come(kept.due, now):
                    continue
                if kept.lease and (
                    not has_come(kept.leased_until, now) or self._records.lost(kept)
                ):
                    continue
                found.append(self._records.lease(kept, stage, lease, now + lease_seconds))
            return found

    def renew(self, records: Sequence[Record], lease_seconds: float) -> set[str]:
        """Extend leases; returns the ids still held."""
        with self._lock:
            held = [kept for record in records if (kept := self._records.held(record))]
            for kept in held:
                kept.leased_until = kept.look_at = self._clock() + lease_seconds
            return {kept.id for kept in held}

    def release(self, records: Sequence[Record]) -> None:
        """Give leases back untouched, due now."""
        with self._lock:
            for record in records:
                kept = self._records.held(record)
                if kept is None:
                    continue
                if not kept.dead:
                    waiting = State.RETRYING if kept.attempts else State.READY
                    kept.state = waiting if kept.waiting_since is None else State.WAITING
                    kept.tries -= 1
                kept.look_at = self._clock()
                kept.free()

    def settle(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """Carry out outcomes; False where the lease was lost."""
        made = [prepared(outcome) for outcome in outcomes]
        with self._lock:
            return [
                carry_out(self._records, outcome, data, spawn)
                for outcome, (data, spawn) in zip(outcomes, made, strict=True)
            ]

    def due(self, limit: int) -> dict[tuple[Stage, str], list[str]]:
        """Return up to *limit* ids that need a hint, by (stage, affinity), oldest due first."""
        with self._lock:
            now = self._clock()
            met = sorted(
                (kept for kept in self._records.by_id.values() if _is_up(kept, now)),
                key=lambda kept: (kept.look_at or 0.0, kept.id),
            )
            hinted = _fairly([kept for kept in met if kept.waits_in is not Stage.WRITE], limit)
            for kept in hinted:
                kept.look_at = now + GRACE_SECONDS
            for kept in [kept for kept in met if kept.waits_in is Stage.WRITE][:limit]:
                if self._records.stream.unread(kept.entry):
                    kept.look_at = now + UNREAD_SECONDS
                else:
                    self._records.enlist(kept)
            found: dict[tuple[Stage, str], list[str]] = {}
            for kept in sorted(hinted, key=lambda kept: (kept.due, kept.id)):
                found.setdefault((kept.stage, kept.affinity), []).append(kept.id)
            return found

    def active_media(self, ids: Sequence[str]) -> set[str]:
        """Return those of the media record ids that are there, and no dead letters."""
        with self._lock:
            return {
                record_id
                for record_id in ids
                if (kept := self._records.by_id.get(record_id)) and not kept.dead
            }

    def states(self, ids: Sequence[str]) -> dict[str, State]:
        """Return the state of those of the record ids that are there."""
        with self._lock:
            return {
                record_id: kept.state
                for record_id in ids
                if (kept := self._records.by_id.get(record_id))
            }

    def active(self, *kinds: Kind) -> int:
        """Return how many records of *kinds*, by default events and media, are active."""
        wanted = kinds or (Kind.EVENT, Kind.MEDIA)
        with self._lock:
            return sum(
                not kept.dead and kept.kind in wanted for kept in self._records.by_id.values()
            )

    def waiting_pages(self, cursor: str, most: int) -> list[float]:
        """Return the ages of up to *most* pages of *cursor* that are not ingested yet."""
        with self._lock:
            now, begin = self._clock(), page_record_id(f"{cursor}:")
            pages = (
                kept
                for kept in self._records.by_id.values()
                if kept.waits_in is Stage.INGEST and kept.id.startswith(begin)
            )
            return [now - kept.entered_at for kept in islice(pages, most)]

    # the lake writer

    def read_rows(self, consumer: str, count: int, block_seconds: float) -> list[tuple[str, str]]:  # noqa: ARG002 - there is one group and no waiting
        """Hand out entries, those of silent consumers first."""
        with self._lock:
            return self._desk.read(count)

    def forget_entries(self, entry_ids: Sequence[str]) -> None:
        """Acknowledge and delete entries."""
        with self._lock:
            self._desk.forget(entry_ids)

    def finish(self, done: Sequence[tuple[str, Record]], known_seconds: float) -> int:
        """Settle pairs whose rows are committed; returns how many."""
        with self._lock:
            return self._desk.finish(done, known_seconds)

    def fail_rows(self, done: Sequence[tuple[str, Record]], failure: Failure) -> int:
        """Bury records whose rows the lake refuses; the dead only lose them. Returns how many."""
        with self._lock:
            return self._desk.refuse(done, failure)

    # dead letters and the operator

    def dead_letters(self, match: DeadFilter) -> list[DeadLetter]:
        """Return dead letters, the newest first."""
        with self._lock:
            return letters_of(self._records, match)

    def requeue(self, ids: Sequence[str], stage: Stage | None = None) -> int:
        """Send dead records back; returns how many. Those with no business in *stage* stay dead."""
        with self._lock:
            return requeue(self._records, ids, stage)

    def find(self, record_id: str) -> tuple[Record, tuple[dict[str, Any], ...]] | None:
        """Return any record in any state, without its lease, and its history."""
        with self._lock:
            kept = self._records.by_id.get(record_id)
            if kept is None:
                return None
            record = kept.record(self._clock(), stage=kept.stage, rows=kept.rows)
            return record, kept.history()

    def census(self, *, ages: bool = True) -> Census:
        """Count everything."""
        with self._lock:
            found = census_of(self._records)
            return found if ages else replace(found, oldest_seconds={})


def _fairly(met: Sequence[Kept], limit: int) -> list[Kept]:
    """Take the oldest of each stage, then the oldest of all; *met* is sorted by age."""
    share = limit // (len(Stage) - 1)
    number = Counter[Stage]()
    first: list[Kept] = []
    others: list[Kept] = []
    for kept in met:
        number[kept.stage] += 1
        (first if number[kept.stage] <= share else others).append(kept)
    taken = first + others[: limit - len(first)]
    return sorted(taken, key=lambda kept: (kept.look_at or 0.0, kept.id))


def _is_up(kept: Kept, now: float) -> bool:
    if kept.waits_in is None or kept.look_at is None:
        return False
    return has_come(kept.look_at, now)
