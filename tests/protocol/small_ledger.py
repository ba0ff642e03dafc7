"""The in-memory ledger as a search needs it: copied quickly, and told apart from another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, fields
from itertools import count

from ledger_rig import Clock

from claimx.adapters.memory.ledger import MemoryLedger
from claimx.adapters.memory.ledger_state import Kept

_KEPT = tuple(one.name for one in fields(Kept) if one.name != "notes")
_LEASES = count(1)  # of all worlds: no lease is ever given twice


@dataclass(frozen=True, slots=True)
class Saved:
    """A copy of Redis, when it was made, and the key of its state."""

    ledger: MemoryLedger
    at: float
    key: Hashable


def new_ledger(clock: Clock) -> MemoryLedger:
    """An empty one."""
    ledger = MemoryLedger(clock, takeover_seconds=15.0)
    ledger._numbers = _LEASES
    return ledger


def copy_of(ledger: MemoryLedger, clock: Clock) -> MemoryLedger:
    """The same ledger, on another clock."""
    other, records = new_ledger(clock), ledger._records
    new = other._records
    new.by_id = {record_id: _copy_of_kept(kept) for record_id, kept in records.by_id.items()}
    new.counters = Counter(records.counters)
    new.remembered._forget_at = dict(records.remembered._forget_at)
    new.stream._entries = dict(records.stream._entries)
    new.stream._read_at = dict(records.stream._read_at)
    new.stream._last = records.stream._last
    other._cursors.update(ledger._cursors)
    other._notes.update(ledger._notes)
    return other


def _copy_of_kept(kept: Kept) -> Kept:
    new = Kept.__new__(Kept)
    for name in _KEPT:
        setattr(new, name, getattr(kept, name))
    new.notes = kept.notes.copy()
    return new


def ledger_key(ledger: MemoryLedger, now: float) -> Hashable:
    """What tells two states of a ledger apart."""
    records = ledger._records
    stream = records.stream
    kept = sorted(
        (
            one.id,
            one.stage.value,
            one.state.value,
            one.attempts,
            one.waiting_since is None,
            one.owed,
            one.rows,
            one.due <= now,
            one.look_at is not None and one.look_at <= now,
            bool(one.lease),
            one.leased_until > now,
            one.entry in stream._entries,
            one.entry in stream._read_at and 1 + (now - stream._read_at[one.entry] > 1.0),
        )
        for one in records.by_id.values()
    )
    return tuple(kept), frozenset(records.remembered._forget_at), "live" in ledger._cursors
