"""Records and outcomes as the scripts take and give them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import orjson

from claimx.adapters.ledger.texts import (
    decoded,
    encoded,
    failure_from_json,
    failure_to_json,
    history_from,
    note_of,
    plain,
)
from claimx.domain.cursors import Mark, kept_seconds
from claimx.domain.ports.ledger import DeadOnArrival
from claimx.domain.records import (
    Advance,
    Buried,
    DeadLetter,
    Failure,
    Kind,
    NewRecord,
    Outcome,
    Record,
    Retried,
    Stage,
    State,
    Waited,
)

Argument: TypeAlias = bytes | str | int | float

_KINDS = {kind.value.encode(): kind for kind in Kind}  # calling the class costs ten times a look-up
_STATES = {state.value.encode(): state for state in State}
# since, admitted, entered, losses, replays, notes, fresh; then texts: REST in lua/common.lua
_REST = struct.Struct("<dddIIBB")
_LETTERS: dict[type[Outcome], str] = {Advance: "A", Retried: "R", Waited: "W", Buried: "B"}


def outcome_arguments(outcome: Outcome) -> Iterator[Argument]:
    """Yield one outcome's record id, then the rest as ``settle`` reads it."""
    record = outcome.record
    yield record.id
    form = f"{_LETTERS[type(outcome)]} {record.stage} {record.lease}"
    if isinstance(outcome, Advance):
        delay = max(0, outcome.delay)
        form += f" {outcome.stage} {delay} {plain(outcome.affinity)}"
    yield form
    match outcome:
        case Advance():
            yield encoded(record.id, outcome.data)
            yield outcome.rows
            yield len(outcome.spawn)
            yield from new_arguments(outcome.spawn)
        case Retried() | Waited():
            yield max(0.0, outcome.delay)
            yield _members(note_of(outcome.failure, outcome.delay))
            yield b"" if outcome.data is None else encoded(record.id, outcome.data)
        case Buried():
            yield failure_to_json(outcome.failure)
            yield outcome.failure.category.value
            yield plain(outcome.failure.error)
            yield _members(note_of(outcome.failure))
            yield b"" if outcome.data is None else encoded(record.id, outcome.data)
            yield outcome.rows
            yield len(outcome.spawn)
            yield from new_arguments(outcome.spawn)


def new_arguments(records: Iterable[NewRecord]) -> Iterator[Argument]:
    """Yield records to admit as ``settle`` and ``store_page`` read them."""
    for new in records:
        yield new.id
        yield new.kind.value
        yield new.stage.value
        yield encoded(new.id, new.data)
        yield plain(new.trace)
        yield "1" if new.revive else "0"


def mark_arguments(marks: Sequence[Mark]) -> Iterator[Argument]:
    """Yield how many marks there are, and each, as ``store_page`` reads them."""
    yield len(marks)
    for mark in marks:
        yield mark.cursor
        yield mark.least
        yield mark.move_to
        yield kept(mark.cursor)


def kept(cursor: str) -> int:
    """Return the whole seconds that a cursor is kept after a move, 0 for good."""
    return round(kept_seconds(cursor) or 0)


def dead_arguments(dead: DeadOnArrival) -> Iterator[Argument]:
    """Yield a dead row as ``admit`` reads it."""
    new, failure = dead.record, dead.failure
    yield new.id
    yield new.stage.value
    yield encoded(new.id, new.data)
    yield plain(new.trace)
    yield failure_to_json(failure)
    yield failure.category.value
    yield plain(failure.error)
    yield _members(note_of(failure))


def failure_arguments(failure: Failure) -> list[Argument]:
    """Return a failure as ``fail_rows`` reads it."""
    return [
        failure_to_json(failure),
        failure.category.value,
        plain(failure.error),
        _members(note_of(failure)),
    ]


def lease_arguments(records: Iterable[Record]) -> Iterator[Argument]:
    """Yield leased records as ``renew`` and ``release`` read them."""
    for record in records:
        yield record.id
        yield record.stage.value
        yield record.lease


def finish_arguments(done: Iterable[tuple[str, Record]]) -> Iterator[Argument]:
    """Yield entries and the records whose rows are committed as ``finish`` reads them."""
    for entry, record in done:
        status = record.data.get("status")
        yield entry
        yield record.id
        yield record.lease
        yield status if isinstance(status, str) else ""


def refused_arguments(done: Iterable[tuple[str, Record]]) -> Iterator[Argument]:
    """Yield entries and the records whose rows the lake refuses as ``fail_rows`` reads them."""
    for entry, record in done:
        yield entry
        yield record.id
        yield record.lease


def records_from(
    stage: Stage,
    lease: str,
    now: bytes,
    ids: Sequence[bytes],
    heads: Sequence[bytes],
    data: Sequence[bytes],
    rows: Sequence[bytes | None],
) -> Iterator[Record]:
    """Yield the records that ``claim`` gave."""
    at = float(now)
    said = zip(ids, heads, data, rows or [None] * len(ids), strict=True)
    for record_id, head, its_data, its_rows in said:
        name = record_id.decode()
        yield record_from(name, stage, at, head, its_data, its_rows or b"", lease=lease)


def record_from(
    record_id: str,
    stage: Stage,
    now: float,
    head: bytes,
    data: bytes,
    rows: bytes,
    *,
    lease: str = "",
) -> Record:
    """Return a record from what ``claim`` or ``find`` gave."""
    kind, state, attempts, tries, rest = head.split(b" ", 4)
    since, admitted, _, _, _, _, fresh = _REST.unpack_from(rest)
    return Record(  # by position: naming them takes as long again
        record_id,
        _KINDS[kind],
        stage,
        decoded(data, fresh),
        lease,
        int(attempts),
        int(tries),
        rest[_REST.size : rest.index(0, _REST.size)].decode(),
        admitted,
        now - since if since else 0.0,
        rows,
        _STATES[state],
    )


def letter_from(
    record_id: bytes, head: bytes, data: bytes, history: bytes, failure: bytes
) -> DeadLetter:
    """Return a dead letter from what ``dead_letters`` gave; a bare one has no data."""
    parts = head.decode().split(" ", 7)
    kind, stage, attempts, replays, fresh, died, admitted, trace = parts
    return DeadLetter(
        id=record_id.decode(),
        kind=Kind(kind),
        stage=Stage(stage),
        failure=failure_from_json(failure),
        died_at=float(died),
        trace=trace,
        attempts=int(attempts),
        replays=int(replays),
        data=decoded(data, int(fresh)) if data else {},
        history=history_from(Kind(kind), float(admitted), history) if data else (),
    )


def _members(note: dict[str, Any]) -> bytes:
    """Return a note as members that follow others in a JSON object."""
    return b"," + orjson.dumps(note)[1:-1]
