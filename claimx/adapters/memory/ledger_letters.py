"""The in-memory ledger's dead letters, and the way back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from claimx.adapters.ledger import texts
from claimx.adapters.memory.ledger_records import Records
from claimx.adapters.memory.ledger_state import Kept
from claimx.domain.records import DeadFilter, DeadLetter, Failure, Kind, Stage
from claimx.domain.requeueing import FIRST, way_back


def letters_of(records: Records, match: DeadFilter) -> list[DeadLetter]:
    """Return dead letters, the newest first."""
    found = [
        kept.letter(kept.failure)
        for kept in records.by_id.values()
        if kept.dead and kept.failure and _matches(kept, kept.failure, match)
    ]
    newest = sorted(found, key=lambda letter: (letter.died_at, letter.id), reverse=True)
    wanted = newest[: match.limit]
    return [replace(letter, data={}, history=()) for letter in wanted] if match.bare else wanted


def requeue(records: Records, ids: Iterable[str], stage: Stage | None) -> int:
    """Send dead records back; returns how many. Those with no business in *stage* stay dead."""
    back = 0
    for record_id in dict.fromkeys(ids):
        kept = records.by_id.get(record_id)
        target = _target(kept, stage) if kept and kept.dead else None
        if kept is not None and target is not None:
            _send_back(records, kept, target)
            back += 1
    return back


def _send_back(records: Records, kept: Kept, target: Stage) -> None:
    kept.note(records.now(), "requeued", to=target.value)
    records.resurrect(kept, target, look_in=0.0)
    kept.replays += 1
    if target is Stage.WRITE:
        records.enlist(kept)
    else:
        kept.rows = b""
        # who was asked for a new file and got nowhere is still to bring one
        if kept.kind is Kind.MEDIA and kept.fresh != texts.FRESH_FILE:
            kept.fresh = texts.FRESH_FILE if target is Stage.DOWNLOAD else texts.FRESH_LINK
    records.counters[f"{kept.kind}.requeued"] += 1


def _matches(kept: Kept, failure: Failure, match: DeadFilter) -> bool:
    wanted = (
        (match.stage, kept.stage),
        (match.category, failure.category),
        (match.error, failure.error),
        (match.kind, kept.kind),
    )
    named = not match.ids or kept.id in match.ids
    return named and all(want is None or want == is_ for want, is_ in wanted)


def _target(kept: Kept, wanted: Stage | None) -> Stage | None:
    """Return where a dead record goes back to, None when it has no business in *wanted*."""
    target = way_back(kept.kind, kept.stage, wanted)
    return FIRST[kept.kind] if target is Stage.WRITE and not kept.rows else target
