"""A source that is far behind, on a real Redis: bounded memory, and any earlier copy of Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis

from claimx.adapters.gates import RedisGates
from claimx.adapters.ledger import RedisLedger
from claimx.adapters.memory.hints import MemoryHints
from claimx.adapters.memory.lake import MemoryLake
from claimx.domain.polling import LIVE, TIME
from claimx.domain.ports.source import SourceRow
from claimx.domain.records import Advance, Kind, Stage
from claimx.domain.retry import RetryPolicy
from claimx.domain.times import MICROS_PER_SECOND, Micros, from_seconds
from claimx.services.catch_up import catch_up
from claimx.services.catch_up_report import CatchUpReport, Ended
from claimx.services.ingest import ingest
from claimx.services.poll import poll_once
from claimx.services.poll_report import PollReport, Stop
from claimx.services.runtime import Limits, Runtime
from claimx.telemetry.metrics import RecordedMetrics

pytestmark = pytest.mark.integration

DAY = 86_400.0
MARK = 2000
BATCH = 500
A_RECORD = 3000  # bytes of Redis that an event's record takes at the most, with its index


class Backlog:
    """A source with *count* events, evenly in the day before *until*: made when asked for."""

    def __init__(self, count: int, until: float) -> None:
        self._count = count
        self._begin = from_seconds(until - DAY)
        self._step = int(DAY * MICROS_PER_SECOND) // count

    def _first(self, after: Micros) -> int:
        """The number of the first event behind a moment."""
        return max(0, (after - self._begin) // self._step + 1)

    def page(
        self, after: Micros, until: Micros, limit: int, exclude: Sequence[str] = ()
    ) -> list[SourceRow]:
        hidden = set(exclude)
        last = min(self._count, self._first(until))
        numbers = range(self._first(after), last)
        rows = ({**row_of(n), TIME: self._begin + n * self._step} for n in numbers)
        found: list[SourceRow] = []
        for row in rows:
            if len(found) == limit:
                break
            if row["event_id"] not in hidden:
                found.append(row)
        return found

    def count(self, after: Micros, until: Micros) -> int:
        return max(0, min(self._count, self._first(until)) - self._first(after))


def row_of(n: int) -> dict[str, Any]:
    return {"event_id": f"old-{n:08d}", "event_type": "NOTED", "project_id": n % 100, "x": "y" * 80}


class Machine:
    """One machine with everything on it; the workers' rest is a stand-in that a test may stop."""

    def __init__(self, client: redis.Redis, source: Any, **limits: Any) -> None:
        self.client = client
        self.hints = MemoryHints()
        self.lake = MemoryLake()
        self.ledger = RedisLedger(client, dedup_seconds=DAY)
        self.most: dict[str, int] = {"records": 0, "bytes": 0, "stream": 0}
        self.base = self.bytes
        self.runtime = Runtime(
            ledger=self.ledger,
            gates=RedisGates(client),
            hints=self.hints,
            metrics=RecordedMetrics(),
            retry=RetryPolicy(),
            # rows show at once, so a gap is read to its end without waiting for late ones
            limits=Limits(
                poll_batch=BATCH,
                poll_start=DAY + 60,
                poll_overlap=0.0,
                poll_settle=0.0,
                max_in_flight=MARK,
                **limits,
            ),
            now=time.time,
            jitter=lambda: 0.0,
            holder="test",
            make_lake=lambda: self.lake,
            make_source=lambda: source,
        )

    @property
    def bytes(self) -> int:
        return int(self.client.info("memory")["used_memory"])

    @property
    def finished(self) -> int:
        return self.ledger.census().counters.get("event.recorded", 0)

    def poll(self) -> PollReport:
        return poll_once(self.runtime, seconds=2.0)

    def catch_up(self) -> CatchUpReport:
        return catch_up(self.runtime, sleep=self.between_pages, seconds=2.0)

    def between_pages(self, _seconds: float) -> None:
        """What the workers do while a run waits for them."""
        self.work()

    def work(self) -> None:
        """Ingest, enrich and write whatever there is."""
        ingest(self.runtime, self.hints.taken(Stage.INGEST))
        events = self.ledger.claim(Stage.ENRICH, self.hints.taken(Stage.ENRICH), 30)
        self.ledger.settle([Advance(one, Stage.WRITE, one.data, b"rows") for one in events])
        self.look()
        entries = {r: e for e, r in self.ledger.read_rows("writer", 100_000, 0.0)}
        held = self.ledger.claim(Stage.WRITE, list(entries), 30)
        self.ledger.finish([(entries[one.id], one) for one in held], DAY)
        self.ledger.forget_entries(list(entries.values()))

    def look(self) -> None:
        census = self.ledger.census()
        rows = census.active[Kind.PAGE] * BATCH + census.active[Kind.EVENT]
        self.most["records"] = max(self.most["records"], rows)
        self.most["bytes"] = max(self.most["bytes"], self.bytes - self.base)
        self.most["stream"] = max(self.most["stream"], census.stream_length)


def test_a_backlog_is_taken_in_at_a_memory_bounded_by_the_mark(redis_client):
    """Twenty-five times the mark passes through; ids are remembered for a second, not a day."""
    events = 50_000
    machine = Machine(redis_client, Backlog(events, time.time()), dedup_seconds=1.0, far_pages=5)

    machine.poll()
    until(lambda: machine.poll() and machine.catch_up().ended is Ended.NOTHING)
    machine.work()

    assert machine.finished == events
    assert machine.ledger.gaps(LIVE) == []
    assert machine.most["records"] <= MARK + BATCH
    assert machine.most["stream"] <= MARK + BATCH
    # the records at the mark, and what a few seconds remember; all of it would be 50 MB
    assert machine.most["bytes"] < (MARK + BATCH) * A_RECORD + 8_000_000


def test_a_stage_that_stands_still_stops_the_poll_at_the_mark(redis_client):
    """Too few rows to be set aside, but far more than the mark."""
    machine = Machine(redis_client, Backlog(10_000, time.time()), far_pages=100)

    for _ in range(6):
        report = machine.poll()
        ingest(machine.runtime, machine.hints.taken(Stage.INGEST))
        machine.look()

    assert report.stopped is Stop.PRESSURE
    assert machine.most["records"] <= MARK + BATCH
    assert machine.most["bytes"] < (MARK + BATCH) * A_RECORD


def test_an_older_copy_of_redis_put_back_in_the_midst_of_a_catch_up_loses_nothing(redis_client):
    """Gap, reader and live checkpoint are of one moment, whichever it is."""
    events = 6000
    machine = Machine(redis_client, Backlog(events, time.time()), far_pages=2)
    copies: list[dict[bytes, tuple[int, bytes]]] = []

    machine.poll()
    copies.append(copy_of(redis_client))
    for _ in range(3):
        machine.catch_up()
        copies.append(copy_of(redis_client))
        machine.work()
    until(lambda: machine.catch_up().ended is Ended.NOTHING)
    copies.append(copy_of(redis_client))

    for copy in copies:
        put_back(redis_client, copy)
        machine.hints.sent.clear()
        time.sleep(0.01)
        until(lambda: settled(machine), 60)
        assert machine.finished == events
        assert machine.ledger.census().counters["event.admitted"] == events
        assert machine.ledger.gaps(LIVE) == []


def until(look: Callable[[], bool], seconds: float = 200.0) -> None:
    """Look again and again until it is so; fails in the end."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline


def settled(machine: Machine) -> bool:
    """Poll, catch up and work, with the redriver's help; True when nothing is left."""
    redrive(machine)
    machine.poll()
    machine.work()
    caught = machine.catch_up().ended is Ended.NOTHING
    machine.work()
    return caught and not machine.ledger.active(*Kind)


def redrive(machine: Machine) -> None:
    """Hint every record that waits at once; the redriver would after its grace."""
    for stage in (Stage.INGEST, Stage.ENRICH):
        ids = machine.client.zrange(f"{{claimx:0}}:look:{stage}", 0, -1)
        machine.hints.send(stage, [one.decode() for one in ids])


def copy_of(client: redis.Redis) -> dict[bytes, tuple[int, bytes]]:
    return {
        key: (max(0, client.pttl(key)), client.dump(key))
        for key in client.scan_iter(count=1000)
        if b":gate:" not in key
    }


def put_back(client: redis.Redis, copy: dict[bytes, tuple[int, bytes]]) -> None:
    client.flushall()
    with client.pipeline(transaction=False) as pipe:
        for key, (life, value) in copy.items():
            pipe.restore(key, life, value)
        pipe.execute()
