"""A ledger on a clock of the test's, in memory or in Redis, and short words for what tests do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import redis

from claimx.adapters.ledger import RedisLedger
from claimx.adapters.memory.ledger import MemoryLedger
from claimx.domain.errors import ErrorCategory
from claimx.domain.ports.ledger import DeadOnArrival, Ledger
from claimx.domain.records import Advance, Failure, Kind, NewRecord, Record, Stage, State

DAY = 86_400.0
FAILURE = Failure(ErrorCategory.TRANSIENT, "Throttled", "429 from api", Stage.ENRICH, 1.0, 429)
BROKEN = Failure(ErrorCategory.PERMANENT, "Malformed", "no type", Stage.INGEST, 2.0, reason="bad")


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.25

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


def event(name: str, stage: Stage = Stage.ENRICH, **data: Any) -> NewRecord:
    return NewRecord(f"e:{name}", Kind.EVENT, stage, {"event_id": name, **data}, f"trace-{name}")


def media(name: str, *, revive: bool = False, **data: Any) -> NewRecord:
    return NewRecord(
        f"m:{name}", Kind.MEDIA, Stage.DOWNLOAD, {"link": name, **data}, f"trace {name}", revive
    )


def page(name: str, **data: Any) -> NewRecord:
    return NewRecord(f"p:{name}", Kind.PAGE, Stage.INGEST, {"rows": [], **data}, "trace-page")


class Rig:
    """One ledger; `second` is another process's view of the same store."""

    def __init__(
        self, make: Callable[[Clock], Ledger], *, client: redis.Redis | None = None
    ) -> None:
        self.clock = Clock()
        self._make = make
        self._client = client
        self._real_idle = client is not None
        self.ledger = make(self.clock)
        self._pages = 0

    def second(self) -> Ledger:
        """Return the same store as another process sees it."""
        return self._make(self.clock) if self._real_idle else self.ledger

    def fall_silent(self, seconds: float = 16.0) -> None:
        """Let time pass for leases, and for what Redis times by its own clock."""
        self.clock.pass_(seconds)
        if self._real_idle:
            time.sleep(0.06)

    def rest(self, seconds: float) -> None:
        """Let time pass for what is there for a while alone, by Redis' own clock as well."""
        self.clock.pass_(seconds)
        for key in self._client.keys() if self._client else ():
            left = self._client.pttl(key)
            if left >= 0:
                self._client.pexpire(key, round(left - seconds * 1000))

    def page(self) -> Record:
        """Return a claimed page."""
        self._pages += 1
        name = f"p{self._pages}"
        before = self.ledger.checkpoint(name)
        assert self.ledger.store_page(name, before, self._pages, [page(name)])
        (record,) = self.ledger.claim(Stage.INGEST, [f"p:{name}"], 30)
        return record

    def admit(self, *names: str, **data: Any) -> list[str]:
        """Admit events; returns the ids of the new ones."""
        events = [event(name, **data) for name in names]
        admitted = self.ledger.admit(self.page(), events, [], DAY)
        assert admitted is not None
        return list(admitted.ids)

    def admit_dead(self, name: str) -> None:
        """Admit a row that is dead on arrival."""
        dead = DeadOnArrival(event(name, Stage.INGEST, junk=True), BROKEN)
        assert self.ledger.admit(self.page(), [], [dead], DAY)

    def claim(self, stage: Stage, *ids: str, seconds: float = 30.0) -> list[Record]:
        return self.ledger.claim(stage, ids, seconds)

    def one(self, name: str = "1", **data: Any) -> Record:
        """Return a new event's record, claimed at ENRICH."""
        self.admit(name, **data)
        (record,) = self.claim(Stage.ENRICH, f"e:{name}")
        return record

    def read(self, consumer: str = "w1", count: int = 100) -> list[tuple[str, str]]:
        return self.ledger.read_rows(consumer, count, 0.0)

    def write(self, consumer: str = "w1") -> list[tuple[str, Record]]:
        """Read and claim what is on the stream, as the lake writer does."""
        entries = {record_id: entry for entry, record_id in self.read(consumer)}
        records = self.claim(Stage.WRITE, *entries)
        return [(entries[record.id], record) for record in records]


def memory_rig() -> Rig:
    ledger: list[Ledger] = []

    def make(clock: Clock) -> Ledger:
        ledger.append(MemoryLedger(clock, takeover_seconds=15.0))
        return ledger[0]

    return Rig(make)


def redis_rig(client: redis.Redis) -> Rig:
    def make(clock: Clock) -> Ledger:
        return RedisLedger(client, clock=clock, takeover_seconds=0.05)

    return Rig(make, client=client)


def whats(rig: Rig, record_id: str) -> list[str]:
    found = rig.ledger.find(record_id)
    assert found
    return [note["what"] for note in found[1]]


def state_of(rig: Rig, record_id: str) -> State:
    found = rig.ledger.find(record_id)
    assert found
    return found[0].state


def media_at(rig: Rig, name: str, **data) -> Record:
    """A claimed media record at DOWNLOAD."""
    parent = rig.one(f"parent-of-{name}")
    rig.ledger.settle([Advance(parent, Stage.WRITE, {}, b"r", spawn=(media(name, **data),))])
    (record,) = rig.claim(Stage.DOWNLOAD, f"m:{name}")
    return record
