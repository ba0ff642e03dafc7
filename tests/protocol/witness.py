"""A ledger whose every answer is held against the book, whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from claimx.domain.cursors import Checkpoint, Gap, Mark
from claimx.domain.ports.ledger import Admitted, DeadOnArrival, Ledger
from claimx.domain.records import (
    Census,
    DeadFilter,
    DeadLetter,
    Failure,
    Kind,
    NewRecord,
    Outcome,
    Record,
    Stage,
    State,
)
from claimx.services.pages import PATIENCE_SECONDS
from protocol.book import Book
from protocol.stores import Seen


class Witness:
    """`Ledger` over another; each call is carried out there and in the book, and compared."""

    def __init__(self, ledger: Ledger, now: Callable[[], float]) -> None:
        self.ledger = ledger
        self.book = Book(now)
        self._now = now

    def ping(self) -> None:
        self.ledger.ping()

    def now(self) -> float:
        return same("now", self.ledger.now(), self._now())

    # polling

    def checkpoint(self, cursor: str) -> Checkpoint | None:
        return same("checkpoint", self.ledger.checkpoint(cursor), self.book.checkpoint(cursor))

    def store_page(
        self,
        cursor: str,
        expected: Checkpoint | None,
        move_to: int,
        pages: Sequence[NewRecord],
        fence: int = 0,
        marks: Sequence[Mark] = (),
        left_out: Sequence[str] = (),
    ) -> Checkpoint | None:
        told = self.ledger.store_page(cursor, expected, move_to, pages, fence, marks, left_out)
        booked = self.book.store_page(cursor, expected, move_to, pages, fence, marks, left_out)
        return same("store_page", told, booked)

    def note_read(
        self, cursor: str, at: Checkpoint, text: str, left_out: Sequence[str] = ()
    ) -> bool:
        told = self.ledger.note_read(cursor, at, text, left_out)
        return same("note_read", told, self.book.note_read(cursor, at, text, left_out))

    def noted_read(self, cursor: str) -> tuple[Checkpoint | None, str | None]:
        return same("noted_read", self.ledger.noted_read(cursor), self.book.noted_read(cursor))

    def admit(
        self,
        page: Record,
        events: Sequence[NewRecord],
        malformed: Sequence[DeadOnArrival],
        seen_seconds: float,
    ) -> Admitted | None:
        told = self.ledger.admit(page, events, malformed, seen_seconds)
        same("admit", told, self.book.admit(page, events, malformed, seen_seconds))
        for new in events if told else ():
            said, at = self.book.first_read[new.id]
            first = new.id not in told.ids or new.data["master_file_name"] == said
            waited = self._now() - at >= PATIENCE_SECONDS
            assert first or waited, f"{new.id} is {new.data['master_file_name']}, {said} was first"
        return told

    def seen(self, ids: Sequence[str]) -> set[str]:
        return same("seen", self.ledger.seen(ids), {i for i in ids if self.book.remembers(i)})

    def states(self, ids: Sequence[str]) -> dict[str, State]:
        units = self.book.units
        booked = {one: units[one].state for one in ids if one in units}
        return same("states", self.ledger.states(ids), booked)

    # stages

    def claim(self, stage: Stage, ids: Sequence[str], lease_seconds: float) -> list[Record]:
        told = self.ledger.claim(stage, ids, lease_seconds)
        leases = {record.lease for record in told} or {"none"}
        assert len(leases) == 1
        booked = self.book.claim(stage, ids, lease_seconds, leases.pop())
        same(f"claim at {stage}", _rounded(told), _rounded(booked))
        return told

    def renew(self, records: Sequence[Record], lease_seconds: float) -> set[str]:
        told = self.ledger.renew(records, lease_seconds)
        return same("renew", told, self.book.renew(records, lease_seconds))

    def release(self, records: Sequence[Record]) -> None:
        self.ledger.release(records)
        self.book.release(records)

    def settle(self, outcomes: Sequence[Outcome]) -> list[bool]:
        told = self.ledger.settle(outcomes)
        return same("settle", told, [self.book.settle(outcome) for outcome in outcomes])

    def due(self, limit: int) -> dict[tuple[Stage, str], list[str]]:
        found = self.ledger.due(limit)
        ids = [record_id for named in found.values() for record_id in named]
        assert len(ids) == len(set(ids)) <= limit, f"hints for {ids}"
        for (stage, affinity), named in found.items():
            for record_id in named:
                unit = self.book.units[record_id]
                where = unit.place, unit.affinity, unit.free_at(self._now())
                same(f"hint for {record_id}", (stage, affinity, True), where)
        return found

    def active_media(self, ids: Sequence[str]) -> set[str]:
        booked = {i for i in ids if (unit := self.book.units.get(i)) and not unit.dead}
        return same("active_media", self.ledger.active_media(ids), booked)

    def active(self, *kinds: Kind) -> int:
        wanted = kinds or (Kind.EVENT, Kind.MEDIA)
        booked = sum(not one.dead and one.kind in wanted for one in self.book.units.values())
        return same("active", self.ledger.active(*kinds), booked)

    def waiting_pages(self, cursor: str, most: int) -> list[float]:
        return self.ledger.waiting_pages(cursor, most)

    def gaps(self, cursor: str) -> list[Gap]:
        return same("gaps", self.ledger.gaps(cursor), [])  # none of these worlds is far behind

    # the lake writer

    def read_rows(self, consumer: str, count: int, block_seconds: float) -> list[tuple[str, str]]:
        found = self.ledger.read_rows(consumer, count, block_seconds)
        assert len(found) <= count
        strangers = {record_id for _, record_id in found} - self.book.units.keys()
        assert not strangers, f"entries for {strangers}, which are done or never were"
        for entry, record_id in found:
            if entry in self.book.handed_out:
                slow = not self.book.units[record_id].lease_is_over(self._now())
                assert not slow, f"{record_id} is taken from a writer that holds it"
        self.book.handed_out.update(entry for entry, _ in found)
        return found

    def forget_entries(self, entry_ids: Sequence[str]) -> None:
        self.ledger.forget_entries(entry_ids)

    def finish(self, done: Sequence[tuple[str, Record]], known_seconds: float) -> int:
        told = self.ledger.finish(done, known_seconds)
        return same("finish", told, sum(self.book.finish(r, known_seconds) for _, r in done))

    def fail_rows(self, done: Sequence[tuple[str, Record]], failure: Failure) -> int:
        told = self.ledger.fail_rows(done, failure)
        return same("fail_rows", told, sum(self.book.fail_rows(r, failure) for _, r in done))

    # dead letters and the operator

    def dead_letters(self, match: DeadFilter) -> list[DeadLetter]:
        found = self.ledger.dead_letters(match)
        if match == DeadFilter():
            booked = {
                i: u.failure.error for i, u in self.book.units.items() if u.dead and u.failure
            }
            same("dead letters", {one.id: one.failure.error for one in found}, booked)
        return found

    def requeue(self, ids: Sequence[str], stage: Stage | None = None) -> int:
        return same("requeue", self.ledger.requeue(ids, stage), self.book.requeue(ids, stage))

    def find(self, record_id: str) -> tuple[Record, tuple[dict[str, Any], ...]] | None:
        found = self.ledger.find(record_id)
        unit = self.book.units.get(record_id)
        booked = unit and replace(unit.record(record_id, unit.stage, self._now()), lease="")
        if booked and unit:
            booked = replace(booked, rows=unit.rows)
        told = replace(found[0], lease="") if found else None
        same(f"find {record_id}", _rounded([told]), _rounded([booked]))
        return found

    def census(self) -> Census:
        census = self.ledger.census()
        told = {name: count for name, count in census.counters.items() if count}
        same("counters", told, {name: n for name, n in self.book.counters.items() if n})
        units = [unit for unit in self.book.units.values() if not unit.dead]
        for stage in Stage:
            for state in State:
                booked = sum(unit.stage is stage and unit.state is state for unit in units)
                same(f"{state} at {stage}", census.stages[stage].get(state, 0), booked)
            for attempts, number in census.by_attempts[stage].items():
                booked = sum(unit.stage is stage and unit.attempts == attempts for unit in units)
                same(f"at {stage} after {attempts} attempts", number, booked)
        for kind in Kind:
            booked = sum(unit.kind is kind and unit.dead for unit in self.book.units.values())
            same(f"dead {kind}", census.dead[kind], booked)
            same(f"active {kind}", census.active[kind], sum(unit.kind is kind for unit in units))
            same(f"missing {kind}", census.missing(kind), 0)
        return census

    # as a whole

    def differences(self, seen: dict[str, Seen]) -> list[str]:
        """Where what the ledger holds is not what the book says, a line each."""
        lines = []
        for record_id in sorted(seen.keys() | self.book.units.keys()):
            unit, found = self.book.units.get(record_id), seen.get(record_id)
            booked = Seen.of(unit) if unit else None
            if booked != found:
                lines.append(f"{record_id}: the book says {booked}\n  the ledger says {found}")
        return lines


def same(what: str, told: Any, booked: Any) -> Any:
    """The ledger's answer, which must be the book's."""
    assert told == booked, f"{what}: the ledger says {told}, the book says {booked}"
    return told


def _rounded(records: Iterable[Record | None]) -> list[Record | None]:
    """Records whose times went through text."""
    return [
        record
        and replace(
            record,
            admitted_at=round(record.admitted_at, 3),
            waited_seconds=round(record.waited_seconds, 3),
        )
        for record in records
    ]
