"""What the in-memory ledger does with a worker's outcome."""

from __future__ import annotations

from collections.abc import Iterable

from claimx.adapters.ledger import texts
from claimx.adapters.memory.ledger_records import GRACE_SECONDS, Records, coded
from claimx.adapters.memory.ledger_state import Kept
from claimx.domain.records import (
    Advance,
    Buried,
    NewRecord,
    Outcome,
    Retried,
    Stage,
    State,
    Waited,
)


def prepared(outcome: Outcome) -> tuple[bytes | None, list[tuple[NewRecord, bytes]]]:
    """Code what an outcome carries, before any is carried out."""
    data = None if outcome.data is None else texts.encoded(outcome.record.id, outcome.data)
    spawn = outcome.spawn if isinstance(outcome, Advance | Buried) else ()
    return data, coded(spawn)


def carry_out(
    records: Records, outcome: Outcome, data: bytes | None, spawn: Iterable[tuple[NewRecord, bytes]]
) -> bool:
    """Carry an outcome out, with what `prepared` made of it; False: the lease was lost."""
    kept = records.held(outcome.record)
    if kept is None or (kept.dead and isinstance(outcome, Advance)):
        return False
    if data is not None:
        kept.coded, kept.fresh = data, 0
    match outcome:
        case Advance():
            _advance(records, kept, outcome)
        case Retried() | Waited():
            _postpone(records, kept, outcome)
        case Buried():
            records.bury(kept, outcome.failure, outcome.rows)
    for new, new_data in spawn:
        records.spawn(new, new_data)
    return True


def _advance(records: Records, kept: Kept, outcome: Advance) -> None:
    now, delay = records.now(), max(0.0, outcome.delay)
    kept.note(now, "advanced", to=outcome.stage.value)
    records.unlist(kept)
    kept.enter(outcome.stage, now, delay)
    kept.affinity = outcome.affinity
    kept.look_at = now + (delay or GRACE_SECONDS)
    kept.rows = outcome.rows if outcome.stage is Stage.WRITE else b""
    if outcome.stage is Stage.WRITE and not delay:
        records.enlist(kept)


def _postpone(records: Records, kept: Kept, outcome: Retried | Waited) -> None:
    now, delay = records.now(), max(0.0, outcome.delay)
    retried = isinstance(outcome, Retried)
    note = texts.note_of(outcome.failure, outcome.delay)
    kept.note(now, "retried" if retried else "waited", **note)
    kept.due = kept.look_at = now + delay
    records.unlist(kept)
    kept.free()
    if retried:
        kept.waiting_since = None
        kept.attempts += not kept.dead
    elif kept.waiting_since is None:
        kept.waiting_since = now
    if not kept.dead:
        kept.state = State.RETRYING if retried else State.WAITING
