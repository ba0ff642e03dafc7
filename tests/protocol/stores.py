"""The two ledgers as a model needs them: looked into, copied, put back to a copy, and emptied."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import redis
from ledger_check import GRACE_SECONDS, UNREAD_SECONDS, problems_in
from ledger_raw import read_raw
from ledger_rig import Clock

from claimx.adapters.ledger import RedisLedger
from claimx.adapters.memory.ledger import MemoryLedger
from claimx.domain.ports.ledger import Ledger
from claimx.domain.records import Kind, Stage, State
from protocol.units import Unit

TAKEOVER_SECONDS = 15.0
# all of a `MemoryLedger`'s memory
_PARTS = ("_records", "_desk", "_cursors", "_gaps", "_fences", "_notes", "_told")


@dataclass(frozen=True, slots=True)
class Seen:
    """A record as the ledger keeps it; the book says the same of its own."""

    kind: Kind
    stage: Stage
    state: State
    attempts: int
    tries: int
    replays: int
    losses: int
    rows: int
    owed: bool
    lease: str
    until: float
    due: float

    @classmethod
    def of(cls, unit: Unit) -> Seen:
        return cls(
            unit.kind,
            unit.stage,
            unit.state,
            unit.attempts,
            unit.tries,
            unit.replays,
            unit.losses,
            len(unit.rows),
            unit.owed,
            unit.lease,
            round(unit.until, 3),
            round(unit.due, 3),
        )


class Store(Protocol):
    """A ledger with what holds it."""

    ledger: Ledger

    def look(self) -> tuple[dict[str, Seen], list[str]]:
        """All records as they are kept, and what is wrong with how they can be found again."""

    def save(self) -> Any:
        """A copy of the whole."""

    def load(self, saved: Any) -> None:
        """Put a copy back; None: nothing is left."""

    def passed(self, seconds: float) -> None:
        """The clock was moved."""


class MemoryStore:
    """`MemoryLedger`; leases are never given twice, not even when it is put back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.ledger = MemoryLedger(clock, takeover_seconds=TAKEOVER_SECONDS)

    def look(self) -> tuple[dict[str, Seen], list[str]]:
        seen = {
            one.id: Seen(
                one.kind,
                one.stage,
                one.state,
                one.attempts,
                one.tries,
                one.replays,
                one.losses,
                len(one.rows),
                one.owed,
                one.lease,
                round(one.leased_until, 3),
                round(one.due, 3),
            )
            for one in self.ledger._records.by_id.values()
        }
        return seen, [*self._unseen(), *self._unclaimed()]

    def _unseen(self) -> Iterator[str]:
        for one in self.ledger._records.by_id.values():
            last = max(one.due, one.leased_until, self._clock.now + UNREAD_SECONDS) + GRACE_SECONDS
            if (one.waits_in is None) != (one.look_at is None) or (one.look_at or 0.0) > last:
                yield f"{one.id} will not be looked at in time"

    def _unclaimed(self) -> Iterator[str]:
        records = self.ledger._records
        for entry, record_id in records.stream._entries.items():
            one = records.by_id.get(record_id)
            if one is None or one.entry != entry or one.waits_in is not Stage.WRITE:
                yield f"the stream's entry {entry} names {record_id}, whose entry it is not"

    def save(self) -> Any:
        ledger, memo = self.ledger, {id(self._clock): self._clock}
        return copy.deepcopy([getattr(ledger, part) for part in _PARTS], memo)

    def load(self, saved: Any) -> None:
        ledger = self.ledger
        if saved is None:
            fresh = MemoryLedger(self._clock, takeover_seconds=TAKEOVER_SECONDS)
            saved = [getattr(fresh, part) for part in _PARTS]
        memo = {id(self._clock): self._clock}
        for part, kept in zip(_PARTS, copy.deepcopy(saved, memo), strict=True):
            setattr(ledger, part, kept)

    def passed(self, seconds: float) -> None:
        """Its entries age by the clock."""


class RedisStore:
    """`RedisLedger`, whose entries are made older by what passes on the test's clock."""

    def __init__(self, clock: Clock, client: redis.Redis) -> None:
        self._clock = clock
        self._client = client
        client.flushall()
        self.ledger = RedisLedger(client, clock=clock, takeover_seconds=TAKEOVER_SECONDS)

    def look(self) -> tuple[dict[str, Seen], list[str]]:
        raw = read_raw(self._client)
        seen = {
            record_id: Seen(
                Kind(one.kind),
                Stage(one.stage),
                State(one.state),
                int(one.attempts),
                int(one.tries),
                int(one.replays),
                int(one.losses),
                one.lengths.get("rows", 0),
                one.pending == 1,
                one.lease,
                round(one.until, 3),
                round(one.due, 3),
            )
            for record_id, one in raw.records.items()
        }
        return seen, problems_in(raw, self._clock.now)

    def save(self) -> Any:
        keys = list(self._client.scan_iter("{claimx:0}:*", count=1000))
        pipe = self._client.pipeline()
        for key in keys:
            pipe.dump(key)
            pipe.pttl(key)
        values = pipe.execute()
        return self._clock.now, list(zip(keys, values[::2], values[1::2], strict=True))

    def load(self, saved: Any) -> None:
        self._client.flushdb()
        if saved is None:
            return
        saved_at, keys = saved
        pipe = self._client.pipeline()
        for key, value, life in keys:
            pipe.restore(key, max(0, life), value)
        pipe.execute()
        self.passed(self._clock.now - saved_at)

    def passed(self, seconds: float) -> None:
        rows, group = "{claimx:0}:rows", "writers"
        try:
            pending = self._client.xpending_range(rows, group, "-", "+", 1000)
        except redis.ResponseError:  # nobody has read yet
            return
        pipe = self._client.pipeline()
        for one in pending:
            idle = one["time_since_delivered"] + round(seconds * 1000)
            entry = one["message_id"]
            pipe.xclaim(rows, group, one["consumer"], 0, [entry], idle=idle, justid=True)
        pipe.execute()


MakeStore = Callable[[Clock], Store]
