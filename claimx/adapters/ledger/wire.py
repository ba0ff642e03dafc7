"""
Records, outcomes and failures as the scripts take and give them.

The in-memory ledger uses the same coding of data, so that both keep the same and give copies.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import orjson

from claimx.domain.cursors import Mark
from claimx.domain.errors import ErrorCategory, Malformed
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
History: TypeAlias = tuple[dict[str, Any], ...]

FRESH_FILE = 1
FRESH_LINK = 2
_KINDS = {kind.value.encode(): kind for kind in Kind}  # calling the class costs ten times a look-up
_STATES = {state.value.encode(): state for state in State}
# since, admitted, entered, losses, replays, notes, fresh; then texts: REST in lua/common.lua
_REST = struct.Struct("<dddIIBB")
_LETTERS: dict[type[Outcome], str] = {Advance: "A", Retried: "R", Waited: "W", Buried: "B"}
_MAX_TEXT = 2000  # of an error's message, which may quote what it complains about


def encoded(record_id: str, data: dict[str, Any]) -> bytes:
    """
    Return *data* as JSON; raises Malformed when it is none.

    What orjson refuses (great integers, lone surrogates) goes through the standard library; the
    leading blank says that it must come back the same way.
    """
    try:
        return orjson.dumps(data)
    except TypeError:
        try:
            return b" " + json.dumps(data).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise Malformed(f"the data of {record_id} are no JSON: {error}") from error


def decoded(raw: bytes, fresh: int = 0) -> dict[str, Any]:
    """Return the data; *fresh* says that a requeue asks for a new file, or only a new link."""
    data: dict[str, Any] = json.loads(raw) if raw[:1] == b" " else orjson.loads(raw)
    return renewed(data, fresh) if fresh else data


def renewed(data: dict[str, Any], fresh: int) -> dict[str, Any]:
    """Return the data of a requeued media file: a new link is asked for, and nothing has failed."""
    dropped = {"error", "status", "free"} | ({"cached"} if fresh == FRESH_FILE else set())
    kept = {name: value for name, value in data.items() if name not in dropped}
    return kept | {"refresh": True, "refreshes": 0}


def failure_to_json(failure: Failure) -> bytes:
    """Return a failure as JSON."""
    return orjson.dumps(
        {
            "category": failure.category.value,
            "error": failure.error,
            "message": _cut(failure.message),
            "stage": failure.stage.value,
            "at": failure.at,
            "status": failure.status,
            "host": failure.host,
            "reason": _cut(failure.reason),
        }
    )


def failure_from_json(raw: bytes) -> Failure:
    """Return the failure; the inverse of `failure_to_json`."""
    found = orjson.loads(raw)
    found["category"] = ErrorCategory(found["category"])
    found["stage"] = Stage(found["stage"])
    return Failure(**found)


def note_of(failure: Failure, delay: float | None = None) -> dict[str, Any]:
    """Return what the history keeps of a failure: compact, since twenty of them are kept."""
    note: dict[str, Any] = {"category": failure.category.value, "error": _cut(failure.error)}
    if failure.status is not None:
        note["status"] = failure.status
    if delay is not None:
        note["delay"] = round(delay, 3)
    return note


def admission_of(kind: Kind, admitted_at: float) -> dict[str, Any]:
    """Return the first entry of every history, which is not stored."""
    first = {Kind.PAGE: Stage.INGEST, Kind.EVENT: Stage.ENRICH, Kind.MEDIA: Stage.DOWNLOAD}
    return {"at": round(admitted_at, 3), "stage": first[kind].value, "what": "admitted"}


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


def history_from(kind: Kind, admitted_at: float, lines: bytes) -> History:
    """Return the history, the admission first."""
    stored = [orjson.loads(line) for line in lines.split(b"\n") if line]
    return (admission_of(kind, admitted_at), *stored)


def _members(note: dict[str, Any]) -> bytes:
    """Return a note as members that follow others in a JSON object."""
    return b"," + orjson.dumps(note)[1:-1]


def plain(text: str) -> str:
    """Return a text as a record's facts can hold it: there a zero byte ends it."""
    return text.replace("\0", "")


def _cut(text: str) -> str:
    """Bound a text, and make it one that every store takes."""
    return text[:_MAX_TEXT].encode("utf-8", "replace").decode()
