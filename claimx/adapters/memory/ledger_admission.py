"""How what was read of the source gets into the in-memory ledger."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import count
from math import inf

from claimx.adapters.memory.ledger_gaps import Cursors, Gaps, next_checkpoint
from claimx.adapters.memory.ledger_records import Records, coded
from claimx.domain.cursors import Checkpoint, Gap, Mark, kept_seconds
from claimx.domain.ports.ledger import Admitted, DeadOnArrival
from claimx.domain.readmission import call_of
from claimx.domain.records import Kind, NewRecord, Record
from claimx.domain.times import Micros


class MemoryAdmission:
    """The part of `MemoryLedger` that admits pages, then their events, and moves checkpoints."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._numbers: Iterator[int] = count(1)
        self._lock = threading.RLock()
        self._cursors: Cursors = {}
        self._gaps = Gaps(self._cursors, records.now)
        self._forget_at: dict[str, float] = {}  # cursors
        self._fences: dict[str, int] = {}
        self._notes: dict[str, str] = {}
        self._told: dict[str, tuple[str, tuple[str, ...]]] = {}  # the last readmission by job

    def checkpoint(self, cursor: str) -> Checkpoint | None:
        """Return the cursor's checkpoint, None before its first move."""
        return self._where(cursor)[0]

    def store_page(
        self,
        cursor: str,
        expected: Checkpoint | None,
        move_to: Micros,
        pages: Sequence[NewRecord],
        fence: int = 0,
        marks: Sequence[Mark] = (),
        left_out: Sequence[str] = (),
    ) -> Checkpoint | None:
        """Store page records and move the checkpoint; None when another was faster."""
        with self._lock:
            before, stored_fence = self._where(cursor)
            if before != expected or fence < stored_fence:
                return None
            if not self._knows(left_out):
                return None
            reached = max(move_to, before.source_time) if before else move_to
            at = next_checkpoint(before, reached, self._records.now())
            for new, data in coded(pages):
                if new.kind is Kind.PAGE:
                    taken = new.id in self._records.by_id
                    self._records.create(
                        new, data, f"{new.id}~{next(self._numbers)}" if taken else new.id
                    )
                else:
                    self._records.spawn(new, data)
            self._move(cursor, at, fence)
            for mark in marks:
                self._reach(mark)
            return at

    def note_read(
        self, cursor: str, at: Checkpoint, text: str, left_out: Sequence[str] = ()
    ) -> bool:
        """Keep a text with the cursor while its checkpoint is *at*; False when it is no longer."""
        with self._lock:
            if self.checkpoint(cursor) != at or not self._knows(left_out):
                return False
            self._notes[cursor] = text
            return True

    def noted_read(self, cursor: str) -> tuple[Checkpoint | None, str | None]:
        """Return the checkpoint and what was noted last with it, in one step."""
        with self._lock:
            return self.checkpoint(cursor), self._notes.get(cursor)

    def set_aside(
        self, cursor: str, expected: Checkpoint | None, gap: Gap, most: int, fence: int = 0
    ) -> Checkpoint | None:
        """Move the checkpoint to the gap's end and keep the gap; None when it was moved."""
        with self._lock:
            at = self.store_page(cursor, expected, gap.until, [], fence)
            if at is not None:
                self._gaps.keep(cursor, gap, most)
            return at

    def gaps(self, cursor: str) -> list[Gap]:
        """Return what is set aside, the oldest first."""
        with self._lock:
            return self._gaps.of(cursor)

    def recount_gap(self, cursor: str, gap: Gap, rows: int) -> bool:
        """Note how many rows are left; False when the gap is not there, or was extended."""
        with self._lock:
            return self._gaps.change(cursor, gap, rows)

    def close_gap(self, cursor: str, gap: Gap, read: Checkpoint | None) -> bool:
        """Forget a gap and its reader's checkpoint; False when it is not read to the end."""
        with self._lock:
            return self.checkpoint(gap.reader) == read and self._gaps.change(cursor, gap, None)

    def admit(
        self,
        page: Record,
        events: Sequence[NewRecord],
        malformed: Sequence[DeadOnArrival],
        seen_seconds: float,
    ) -> Admitted | None:
        """Turn a claimed page into event records and dead letters, and drop the page."""
        fresh, broken = coded(events), coded([dead.record for dead in malformed])
        with self._lock:
            kept = self._records.held(page)
            if kept is None:
                return None
            ids: list[str] = []
            buried = 0
            for new, data in fresh:
                if self._records.is_new(new.id, seen_seconds):
                    self._records.create(new, data, new.id)
                    ids.append(new.id)
            for (new, data), dead in zip(broken, malformed, strict=True):
                if self._records.is_new(new.id, seen_seconds):
                    self._records.bury(self._records.create(new, data, new.id), dead.failure)
                    buried += 1
            del self._records.by_id[page.id]
            self._records.counters[f"{kept.kind}.recorded"] += 1
            duplicates = len(events) + len(malformed) - len(ids) - buried
            return Admitted(tuple(ids), duplicates, buried)

    def seen(self, ids: Sequence[str]) -> set[str]:
        """Return those ids that are remembered."""
        with self._lock:
            return {record_id for record_id in ids if record_id in self._records.remembered}

    def readmit(self, job: str, records: Sequence[NewRecord], fence: int) -> tuple[str, ...] | None:
        """Admit those of *records* that are not there, though their ids be remembered."""
        made, call = coded(records), call_of(fence, records)
        with self._lock:
            last, told = self._told.get(job, ("", ()))
            if last == call:
                return told
            if fence < self._fences.get(job, 0):
                return None
            self._fences[job] = fence
            ids = tuple(new.id for new, data in made if self._records.readmit(new, data))
            self._told[job] = call, ids
            return ids

    def _knows(self, ids: Sequence[str]) -> bool:
        return all(record_id in self._records.remembered for record_id in ids)

    def _reach(self, mark: Mark) -> None:
        reached, fence = self._where(mark.cursor)
        if reached is None or reached.source_time < mark.least:
            at = next_checkpoint(reached, mark.move_to, self._records.now())
            self._move(mark.cursor, at, fence)

    def _where(self, cursor: str) -> tuple[Checkpoint | None, int]:
        """Return where a cursor is, and its greatest fence; it may be forgotten by now."""
        if self._forget_at.get(cursor, inf) <= self._records.now():
            del self._forget_at[cursor], self._cursors[cursor]
            self._notes.pop(cursor, None)
        return self._cursors.get(cursor, (None, 0))

    def _move(self, cursor: str, at: Checkpoint, fence: int) -> None:
        self._cursors[cursor] = at, fence
        if (kept := kept_seconds(cursor)) is not None:
            self._forget_at[cursor] = self._records.now() + kept
