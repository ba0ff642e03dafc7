"""
The book: what the ledger must hold after each step, by the protocol's words alone.

It has neither indices nor a stream nor hints: those are the ledger's own ways to find records
again. Each method takes what a step of the ledger took, writes down what it means, and returns
what the ledger must have answered.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from claimx.domain.cursors import Checkpoint, Mark
from claimx.domain.ports.ledger import Admitted, DeadOnArrival
from claimx.domain.records import (
    Advance,
    Buried,
    Failure,
    Kind,
    NewRecord,
    Outcome,
    Record,
    Stage,
    State,
)
from claimx.services.source_rows import read_page
from protocol.units import Unit, unit_of

_COPIED = "counters finished admitted handed_out first_read _seen _cursors _notes".split()


class Book:
    """
    What must be there.

    *finished* and *admitted* count by id over the life of the ledger, *handed_out* are the lake
    stream's entries that some writer was given, *first_read* is what the first row of an id said
    that was stored in a page, and when.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.units: dict[str, Unit] = {}
        self.counters: Counter[str] = Counter()
        self.finished: Counter[str] = Counter()
        self.admitted: Counter[str] = Counter()
        self.handed_out: set[str] = set()
        self.first_read: dict[str, tuple[str | None, float]] = {}
        self._seen: dict[str, float] = {}
        self._cursors: dict[str, tuple[Checkpoint, int]] = {}
        self._notes: dict[str, str] = {}

    def put_back(self) -> None:
        """
        Expect of what waits in pages no more that the first row of an id stands.

        A poll that lives through it has looked before whether such pages wait, when there were
        none, and stores a later row of the same id beside them.
        """
        for record_id, (said, _) in self.first_read.items():
            if not self.remembers(record_id):
                self.first_read[record_id] = (said, -math.inf)

    def copy(self) -> Book:
        """The book as it is now: what is true of a copy of the ledger made at the same moment."""
        other = Book(self.now)
        other.units = {record_id: replace(unit) for record_id, unit in self.units.items()}
        for name in _COPIED:
            setattr(other, name, getattr(self, name).copy())
        return other

    # polling

    def checkpoint(self, cursor: str) -> Checkpoint | None:
        found = self._cursors.get(cursor)
        return found[0] if found else None

    def store_page(
        self,
        cursor: str,
        expected: Checkpoint | None,
        move_to: int,
        pages: Sequence[NewRecord],
        fence: int,
        marks: Sequence[Mark],
        left_out: Sequence[str],
    ) -> Checkpoint | None:
        current, stored_fence = self._cursors.get(cursor, (None, 0))
        if current != expected or fence < stored_fence:
            return None
        if not all(self.remembers(record_id) for record_id in left_out):
            return None
        time = max(move_to, current.source_time) if current else move_to
        moved = Checkpoint(time, self._next_version(current))
        self._cursors[cursor] = moved, fence
        for mark in marks:
            reached, its_fence = self._cursors.get(mark.cursor, (None, 0))
            if reached is None or reached.source_time < mark.least:
                its = Checkpoint(mark.move_to, self._next_version(reached))
                self._cursors[mark.cursor] = its, its_fence
        for new in pages:
            if new.kind is Kind.PAGE:
                assert new.id not in self.units, "the model knows no cursor that is set back"
                self._create(new)
                self._read(new.data)
            else:
                self._spawn(new)
        return moved

    def _next_version(self, before: Checkpoint | None) -> int:
        return max(before.version + 1 if before else 1, int(self.now() * 1_000_000))

    def note_read(self, cursor: str, at: Checkpoint, text: str, left_out: Sequence[str]) -> bool:
        if self.checkpoint(cursor) != at or not all(map(self.remembers, left_out)):
            return False
        self._notes[cursor] = text
        return True

    def noted_read(self, cursor: str) -> tuple[Checkpoint | None, str | None]:
        return self.checkpoint(cursor), self._notes.get(cursor)

    def _read(self, page: dict[str, Any]) -> None:
        for record_id, data, wrong in read_page(page):
            if wrong is None:
                said = (data.get("master_file_name"), self.now())
                self.first_read.setdefault(record_id, said)

    def admit(
        self,
        page: Record,
        events: Sequence[NewRecord],
        malformed: Sequence[DeadOnArrival],
        seconds: float,
    ) -> Admitted | None:
        if self._held(page) is None:
            return None
        ids = []
        buried = duplicates = 0
        failures = {dead.record.id: dead.failure for dead in malformed}
        for new in [*events, *(dead.record for dead in malformed)]:
            known = self.remembers(new.id)
            if not known:
                self._seen[new.id] = self.now() + seconds
            if known or new.id in self.units:
                duplicates += 1
            elif new.id in failures:
                self._create(new).bury(failures[new.id], self.now())
                buried += 1
            else:
                self._create(new)
                ids.append(new.id)
        self.counters["event.duplicate"] += duplicates
        self._end(page.id, "page.recorded")
        return Admitted(tuple(ids), duplicates, buried)

    def remembers(self, record_id: str) -> bool:
        return self._seen.get(record_id, 0.0) > self.now()

    # leases

    def claim(self, stage: Stage, ids: Sequence[str], seconds: float, lease: str) -> list[Record]:
        now, found = self.now(), []
        for record_id in dict.fromkeys(ids):
            unit = self.units.get(record_id)
            if unit is None or unit.place is not stage or not unit.free_at(now):
                continue
            if unit.lease:
                unit.lose(now)
                if unit.place is not stage:
                    continue
            unit.lease, unit.until = lease, now + seconds
            if not unit.dead:
                unit.state = State.LEASED
            found.append(unit.record(record_id, stage, now))
            unit.tries += not unit.dead
        return found

    def renew(self, records: Sequence[Record], seconds: float) -> set[str]:
        held = {r.id: unit for r in records if (unit := self._held(r))}
        for unit in held.values():
            unit.until = self.now() + seconds
        return set(held)

    def release(self, records: Sequence[Record]) -> None:
        for record in records:
            if unit := self._held(record):
                unit.free()
                if not unit.dead:
                    unit.tries -= 1
                    unit.state = unit.idle_state()

    # outcomes

    def settle(self, outcome: Outcome) -> bool:
        unit, now = self._held(outcome.record), self.now()
        if unit is None or (unit.dead and isinstance(outcome, Advance)):
            return False
        unit.settle(outcome, now)
        for new in outcome.spawn if isinstance(outcome, Advance | Buried) else ():
            self._spawn(new)
        return True

    def finish(self, record: Record, seconds: float) -> bool:
        unit = self._held(record)
        if unit is None:
            return False
        status = record.data.get("status")
        if unit.dead:
            unit.owe_nothing()
            return True
        unhandled = unit.kind is Kind.EVENT and status == "unhandled"
        self._end(record.id, f"{unit.kind}.{'unhandled' if unhandled else 'recorded'}")
        if unit.kind is Kind.MEDIA and status == "completed":
            self._seen[record.id] = self.now() + seconds
        return True

    def fail_rows(self, record: Record, failure: Failure) -> bool:
        unit = self._held(record)
        if unit:
            unit.bury(failure, self.now())
        return unit is not None

    def requeue(self, ids: Sequence[str], stage: Stage | None) -> int:
        back = 0
        for record_id in dict.fromkeys(ids):
            unit = self.units.get(record_id)
            if unit and (target := unit.way_back(stage)):
                unit.requeue(target, self.now())
                self.counters[f"{unit.kind}.requeued"] += 1
                back += 1
        return back

    # within

    def _held(self, record: Record) -> Unit | None:
        unit = self.units.get(record.id)
        if unit is None or not record.lease or unit.lease != record.lease:
            return None
        return unit if unit.place is record.stage else None

    def _create(self, new: NewRecord) -> Unit:
        self.units[new.id] = unit_of(new, self.now())
        self.counters[f"{new.kind}.admitted"] += 1
        self.admitted[new.id] += 1
        return self.units[new.id]

    def _end(self, record_id: str, counter: str) -> None:
        del self.units[record_id]
        self.counters[counter] += 1
        self.finished[record_id] += 1

    def _spawn(self, new: NewRecord) -> None:
        unit = self.units.get(new.id)
        if unit is None and not self.remembers(new.id):
            self._create(new)
        elif unit is not None and unit.dead and new.revive:
            unit.revive(new, self.now())
            self.counters[f"{new.kind}.revived"] += 1
        else:
            self.counters[f"{new.kind}.duplicate"] += 1
