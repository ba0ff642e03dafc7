"""The ledger's methods, each one script call for a chunk of at most 500 records."""

from __future__ import annotations

import itertools
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import redis
from redis.commands.core import Script

from claimx.adapters.ledger import wire
from claimx.adapters.ledger.scripts import NAMES, source_of
from claimx.domain.errors import Unavailable
from claimx.domain.ports import Admitted, Checkpoint, DeadOnArrival
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
from claimx.domain.times import Micros

T = TypeVar("T")

CHUNK_RECORDS = 500
CHUNK_BYTES = 8 * 1024 * 1024  # of outcomes in one script: Redis does nothing else meanwhile
SCANNED = 2000  # records a stage that the census looks at for the oldest
TAKEOVER_SECONDS = 15.0
MAX_BLOCK_SECONDS = 20.0  # below the client's time-out
MAX_LETTERS_SCANNED = 1_000_000
_GROUP = "writers"


class RedisLedger:
    """
    `claimx.domain.ports.Ledger` in one Redis or Valkey, plain or behind Sentinel.

    *client* must not decode responses. Keys begin with *prefix* and share a hash tag.
    *dedup_seconds* is how long an event that came by another way than a page is remembered.
    *clock* stands in for the server's in tests; *takeover_seconds* is how long a writer may be
    silent. Everything raises Unavailable when Redis does not answer or refuses to write.

    A call that the client repeats after a broken connection may have been carried out: `claim`
    gives the same leases again, everything else then reports leases as lost that it has settled
    itself, which costs a caller nothing.

    A writer's entries are safe with it for as long as it renews its records: an entry whose
    record is leased is never handed out, whatever its age in the consumer group.
    """

    def __init__(
        self,
        client: redis.Redis,
        prefix: str = "claimx",
        dedup_seconds: float = 86_400.0,
        clock: Callable[[], float] | None = None,
        *,
        takeover_seconds: float = TAKEOVER_SECONDS,
    ) -> None:
        self._client = client
        self._root = f"{{{prefix}:0}}"
        self._dedup_seconds = dedup_seconds
        self._clock = clock
        self._takeover_ms = round(takeover_seconds * 1000)
        self._host = _host_of(client)
        self._holder = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:60]
        self._scripts: dict[str, Script] = {
            name: client.register_script(source_of(name)) for name in NAMES
        }

    def ping(self) -> None:
        """Raise Unavailable unless Redis answers and accepts writes."""
        with self._translated():
            self._client.ping()
            self._client.set(f"{self._root}:ping", b"", ex=60)

    # polling

    def checkpoint(self, cursor: str) -> Checkpoint | None:
        """Return the cursor's checkpoint, None before its first move."""
        with self._translated():
            found: Any = self._client.hmget(f"{self._root}:cursor:{cursor}", ["time", "version"])
        return None if found[0] is None else Checkpoint(int(found[0]), int(found[1]))

    def store_page(
        self,
        cursor: str,
        expected: Checkpoint | None,
        move_to: Micros,
        pages: Sequence[NewRecord],
        fence: int = 0,
    ) -> Checkpoint | None:
        """Store page records and move the checkpoint, in one step; None when it was moved."""
        version = expected.version if expected else 0
        head = (cursor, version, move_to, fence, self._dedup_seconds)
        found = self._run("store_page", *head, *wire.new_arguments(pages))
        return None if found is None else Checkpoint(int(found[0]), int(found[1]))

    def admit(
        self,
        page: Record,
        events: Sequence[NewRecord],
        malformed: Sequence[DeadOnArrival],
        seen_seconds: float,
    ) -> Admitted | None:
        """Turn a page into event records and dead letters, in one step however large it is."""
        arguments: list[wire.Argument] = [page.id, page.lease, seen_seconds, len(events)]
        for new in events:
            arguments += (new.id, new.stage.value, wire.encoded(new.id, new.data), new.trace)
        for dead in malformed:
            arguments += wire.dead_arguments(dead)
        found = self._run("admit", *arguments)
        if found is None:
            return None
        ids = tuple(record_id.decode() for record_id in found[2:])
        return Admitted(ids, duplicates=found[0], malformed=found[1])

    def seen(self, ids: Sequence[str]) -> set[str]:
        """Return those ids that are remembered."""
        return {found.decode() for chunk in _chunks(ids) for found in self._run("seen", *chunk)}

    # stages

    def claim(self, stage: Stage, ids: Sequence[str], lease_seconds: float) -> list[Record]:
        """Lease those of *ids* that are in *stage*, due and not leased."""
        # names its process, for the history of a record whose worker died
        lease = f"{self._holder}:{os.getpid()}:{secrets.token_hex(8)}"
        records = []
        for chunk in _chunks(list(dict.fromkeys(ids))):
            found = self._run("claim", stage.value, lease, lease_seconds, *chunk)
            for record_id, head, data, rows in _groups(found, 4):
                records.append(
                    wire.record_from(record_id.decode(), stage, head, data, rows, lease=lease)
                )
        return records

    def renew(self, records: Sequence[Record], lease_seconds: float) -> set[str]:
        """Extend leases; returns the ids still held."""
        return {
            found.decode()
            for chunk in _chunks(records)
            for found in self._run("renew", lease_seconds, *_leases(chunk))
        }

    def release(self, records: Sequence[Record]) -> None:
        """Give leases back untouched, due now."""
        for chunk in _chunks(records):
            self._run("release", *_leases(chunk))

    def settle(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """Carry out outcomes; False where the lease was lost."""
        # all are coded before any is carried out: what is no JSON stops the whole, at once
        coded = [list(wire.outcome_arguments(outcome)) for outcome in outcomes]
        done: list[bool] = []
        for chunk in _steps(coded):
            found = self._run("settle", self._dedup_seconds, *chunk)
            done += [bool(one) for one in found]
        return done

    def due(self, limit: int) -> dict[tuple[Stage, str], list[str]]:
        """Return up to *limit* ids that need a hint, by (stage, affinity), oldest due first."""
        stages = [stage.value for stage in Stage if stage is not Stage.WRITE]
        met = sorted(
            (float(due), record_id.decode(), stage.decode(), affinity.decode())
            for answer in self._look(stages, limit)
            for stage, affinity, record_id, due in _groups(answer, 4)
        )
        for _ in self._look([Stage.WRITE.value], limit):
            pass
        found: dict[tuple[Stage, str], list[str]] = {}
        for _, record_id, stage, affinity in met:
            found.setdefault((Stage(stage), affinity), []).append(record_id)
        return found

    def active_media(self, ids: Sequence[str]) -> set[str]:
        """Return those of the media record ids that are there, and no dead letters."""
        return {
            found.decode() for chunk in _chunks(ids) for found in self._run("active_media", *chunk)
        }

    def active(self) -> int:
        """Return how many event and media records are active."""
        with self._translated():
            found: Any = self._client.hmget(f"{self._root}:n", ["k:event", "k:media"])
        return sum(int(count or 0) for count in found)

    # the lake writer

    def read_rows(self, consumer: str, count: int, block_seconds: float) -> list[tuple[str, str]]:
        """Hand out entries, silent consumers' first; waits for one when there is none."""
        if count <= 0:
            return []
        found = self._run("read_rows", consumer, count, self._takeover_ms)
        if not found and block_seconds > 0:
            found = self._wait_for_rows(consumer, count, block_seconds)
        return [(entry.decode(), record_id.decode()) for entry, record_id in _groups(found, 2)]

    def forget_entries(self, entry_ids: Sequence[str]) -> None:
        """Acknowledge and delete entries."""
        for chunk in _chunks(entry_ids):
            self._run("forget_entries", *chunk)

    def finish(self, done: Sequence[tuple[str, Record]], known_seconds: float) -> int:
        """Settle (entry id, record) pairs whose rows are committed; returns how many."""
        return sum(
            self._run(
                "finish",
                known_seconds,
                *itertools.chain.from_iterable(
                    (entry, record.id, record.lease, _status(record)) for entry, record in chunk
                ),
            )
            for chunk in _chunks(done)
        )

    def fail_rows(self, done: Sequence[tuple[str, Record]], failure: Failure) -> int:
        """
        Bury records whose rows the lake refuses; returns how many.

        The rows are kept for a requeue to the stage WRITE. A record that was dead already loses
        them, and keeps the failure that it died of.
        """
        head = wire.failure_arguments(failure)
        return sum(
            self._run(
                "fail_rows",
                *head,
                *itertools.chain.from_iterable(
                    (entry, record.id, record.lease) for entry, record in chunk
                ),
            )
            for chunk in _chunks(done)
        )

    # dead letters and the operator

    def dead_letters(self, match: DeadFilter) -> list[DeadLetter]:
        """Return dead letters, the newest first."""
        found: dict[str, DeadLetter] = {}
        wanted = [
            match.stage.value if match.stage else "",
            match.category.value if match.category else "",
            match.error or "",
            match.kind.value if match.kind else "",
        ]
        if match.ids:
            for chunk in _chunks(list(dict.fromkeys(match.ids))):
                _, answer = self._run("dead_letters", *wanted, len(chunk), "ids", *chunk)
                found |= _letters(answer)
            newest = sorted(found.values(), key=lambda one: (one.died_at, one.id), reverse=True)
            return newest[: match.limit]
        rank = 0
        while 0 <= rank < MAX_LETTERS_SCANNED and len(found) < match.limit:
            room = min(CHUNK_RECORDS, match.limit - len(found))
            rank, answer = self._run("dead_letters", *wanted, room, "", rank)
            found |= _letters(answer)
        return list(found.values())

    def requeue(self, ids: Sequence[str], stage: Stage | None = None) -> int:
        """
        Send dead records back; returns how many. Those with no business in *stage* stay dead.

        One that died at the writer goes back there with its rows, which were kept. A dead source
        row (an event at INGEST) can only go to INGEST, where it is parsed again.
        """
        return sum(
            self._run("requeue", stage.value if stage else "", *chunk)
            for chunk in _chunks(list(dict.fromkeys(ids)))
        )

    def find(self, record_id: str) -> tuple[Record, wire.History] | None:
        """Return any record in any state, without its lease, and its history."""
        found = self._run("find", record_id)
        if found is None:
            return None
        head, data, history, rows, stage = found
        record = wire.record_from(record_id, Stage(stage.decode()), head, data, rows)
        return record, wire.history_from(record.kind, record.admitted_at, history)

    def census(self) -> Census:
        """Count everything; only the ages are looked up, among the first records of each stage."""
        stages = [stage.value for stage in Stage]
        flat, length, pending, ages = self._run("census", SCANNED, *stages)
        counters: dict[str, int] = {}
        by_state: dict[Stage, dict[State, int]] = {stage: {} for stage in Stage}
        by_attempts: dict[Stage, dict[int, int]] = {stage: {} for stage in Stage}
        active, dead = dict.fromkeys(Kind, 0), dict.fromkeys(Kind, 0)
        for raw_name, count in _groups(flat, 2):
            match raw_name.decode().split(":"):
                case ["s", stage, state] if int(count):
                    by_state[Stage(stage)][State(state)] = int(count)
                case ["a", stage, attempts] if int(count):
                    by_attempts[Stage(stage)][int(attempts)] = int(count)
                case ["k", kind]:
                    active[Kind(kind)] = int(count)
                case ["d", kind]:
                    dead[Kind(kind)] = int(count)
                case [name] if "." in name:
                    counters[name] = int(count)
        return Census(
            counters=counters,
            stages=by_state,
            active=active,
            dead=dead,
            by_attempts=by_attempts,
            oldest_seconds={Stage(stage.decode()): float(age) for stage, age in _groups(ages, 2)},
            stream_length=length,
            stream_pending=pending,
        )

    def _look(self, stages: Sequence[str], limit: int) -> Iterator[list[bytes]]:
        for start in range(0, limit, CHUNK_RECORDS):
            more, answer = self._run("due", min(CHUNK_RECORDS, limit - start), *stages)
            yield answer
            if not more:
                return

    def _wait_for_rows(self, consumer: str, count: int, seconds: float) -> list[bytes]:
        """Block for new entries, by a command of its own, since scripts cannot wait."""
        with self._translated():
            found: Any = self._client.xreadgroup(
                _GROUP,
                consumer,
                {f"{self._root}:rows": ">"},
                count=count,
                block=max(1, round(min(seconds, MAX_BLOCK_SECONDS) * 1000)),
            )
        streams = found.values() if isinstance(found, dict) else [s[1] for s in found or ()]
        entries = _entries(streams)
        return [part for entry, fields in entries for part in (entry, fields[b"i"])]

    def _run(self, name: str, *arguments: wire.Argument) -> Any:
        now = "" if self._clock is None else repr(self._clock())
        with self._translated():
            return self._scripts[name](keys=[self._root], args=[now, *arguments])

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            raise Unavailable(f"Redis at {self._host}: {_why(error)}", host=self._host) from error


def _host_of(client: redis.Redis) -> str:
    """Return what to call the server in messages; never a password."""
    pool = client.connection_pool
    service = getattr(pool, "service_name", None)
    if service:
        return f"sentinel:{service}"
    options = pool.connection_kwargs
    return str(options.get("path") or f"{options.get('host')}:{options.get('port')}")


def _why(error: redis.RedisError) -> str:
    if isinstance(error, redis.exceptions.OutOfMemoryError):
        return "out of memory; give it more (maxmemory), it must never evict"
    if isinstance(error, redis.exceptions.ReadOnlyError):
        return "a replica that takes no writes; the URL must name the primary"
    if isinstance(error, redis.sentinel.MasterNotFoundError):
        return "no Sentinel answers with its primary; check the URL and the master's name"
    if isinstance(error, redis.AuthenticationError):
        return "refuses the password in REDIS_URL"
    return f"{type(error).__name__}: {str(error)[:300]}"


def _status(record: Record) -> str:
    status = record.data.get("status")
    return status if isinstance(status, str) else ""


def _leases(records: Iterable[Record]) -> Iterator[str]:
    for record in records:
        yield record.id
        yield record.stage.value
        yield record.lease


def _letters(answer: list[bytes]) -> dict[str, DeadLetter]:
    letters = (wire.letter_from(*letter) for letter in _groups(answer, 5))
    return {letter.id: letter for letter in letters}


def _entries(streams: Iterable[Any]) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    """Go through the entries of a reply, which RESP 3 nests one level deeper than RESP 2."""
    for entries in streams:
        for entry in entries:
            if entry and isinstance(entry[0], bytes):
                yield entry[0], entry[1]
            else:
                yield from entry


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), CHUNK_RECORDS):
        yield items[start : start + CHUNK_RECORDS]


def _steps(coded: Iterable[list[wire.Argument]]) -> Iterator[list[wire.Argument]]:
    """Put coded outcomes together, up to a bound of records (spawned ones too) and of bytes."""
    step: list[wire.Argument] = []
    size = records = 0
    for outcome in coded:
        weight = 1 + len(outcome) // 6
        length = sum(len(part) for part in outcome if isinstance(part, bytes))
        if step and (records + weight > 2 * CHUNK_RECORDS or size + length > CHUNK_BYTES):
            yield step
            step, size, records = [], 0, 0
        step += outcome
        size += length
        records += weight
    if step:
        yield step


def _groups(flat: Sequence[Any], size: int) -> Iterator[tuple[Any, ...]]:
    return zip(*[iter(flat)] * size, strict=True)
