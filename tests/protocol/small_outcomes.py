"""What a worker of a small world may make of a record, and what then is written to the lake."""

from __future__ import annotations

from ledger_rig import BROKEN, FAILURE

from claimx.domain.records import (
    Advance,
    Buried,
    NewRecord,
    Outcome,
    Record,
    Retried,
    Stage,
    Waited,
)

LEASE = 30.0  # and every delay


def outcome_of(record: Record, what: str, spawn: tuple[NewRecord, ...]) -> Outcome:
    """The outcome of that name; *spawn* is what the record leads to."""
    match what:
        case "retry":
            return Retried(record, LEASE, FAILURE)
        case "wait":
            return Waited(record, LEASE, FAILURE)
        case "bury":
            failed = b"F:m" if record.stage is Stage.DOWNLOAD else b"M:m" if spawn else b""
            return Buried(record, BROKEN, failed, spawn)
        case _:
            done = record.data | {"status": "completed"}
            return Advance(record, Stage.WRITE, done, _rows(record, spawn), spawn)


def _rows(record: Record, spawn: tuple[NewRecord, ...]) -> bytes:
    """The keys that its rows have in the lake: of the event, what it found, the attachment."""
    if record.stage is Stage.DOWNLOAD:
        return b"A:m"
    return f"E:{record.id[2:]}{' M:m' if spawn else ''}".encode()
