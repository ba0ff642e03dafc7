"""The ledger in Redis; what changes records is one script call for a chunk of at most 500."""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import redis

from claimx.adapters.ledger import texts, wire
from claimx.adapters.ledger.admission import RedisAdmission
from claimx.adapters.ledger.census import census_from
from claimx.adapters.ledger.chunks import CHUNK_RECORDS, chunks, groups, steps
from claimx.adapters.ledger.connection import Connection
from claimx.adapters.ledger.rows import RedisWriterDesk
from claimx.domain.records import (
    Census,
    DeadFilter,
    DeadLetter,
    Kind,
    Outcome,
    Record,
    Stage,
    State,
    page_record_id,
)

SCANNED = 2000  # records a stage that the census looks at for the oldest
TAKEOVER_SECONDS = 10.0
MAX_LETTERS_SCANNED = 10_000_000  # tens of GB in Redis


class RedisLedger(RedisAdmission, RedisWriterDesk):
    """
    `claimx.domain.ports.ledger.Ledger` in one Redis or Valkey, plain or behind Sentinel.

    *client* must not decode responses. Keys begin with *prefix* and share a hash tag.
    *dedup_seconds* is how long an event that came by another way than a page is remembered.
    *clock* stands in for the server's in tests; *takeover_seconds* is how long a writer may be
    silent. Everything raises Unavailable when Redis does not answer or refuses to write.

    A call that the client repeats after a broken connection may have been carried out: `claim`
    gives the same leases again, `readmit` and `requeue` the same answer, everything else then
    reports leases as lost that it has settled itself, which costs a caller nothing.

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
        self._redis = Connection(client, f"{{{prefix}:0}}", clock)
        self._dedup_seconds = dedup_seconds
        self._takeover_ms = round(takeover_seconds * 1000)
        self._holder = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:60]

    def greet(self) -> None:
        """Raise Unavailable unless Redis answers, be it that it takes no writes."""
        self._redis.greet()

    def ping(self) -> None:
        """Raise Unavailable unless Redis answers and accepts writes."""
        self._redis.ping()

    def now(self) -> float:
        """Return Redis's time."""
        return self._redis.now()

    # stages

    def claim(self, stage: Stage, ids: Sequence[str], lease_seconds: float) -> list[Record]:
        """Lease those of *ids* that are in *stage*, due and not leased."""
        # names its process, for the history of a record whose worker died
        lease = f"{self._holder}:{os.getpid()}:{secrets.token_hex(8)}"
        records: list[Record] = []
        for chunk in chunks(list(dict.fromkeys(ids))):
            found = self._redis.run("claim", stage.value, lease, lease_seconds, *chunk)
            records += wire.records_from(stage, lease, *found)
        return records

    def renew(self, records: Sequence[Record], lease_seconds: float) -> set[str]:
        """Extend leases; returns the ids still held."""
        return {
            found.decode()
            for chunk in chunks(records)
            for found in self._redis.run("renew", lease_seconds, *wire.lease_arguments(chunk))
        }

    def release(self, records: Sequence[Record]) -> None:
        """Give leases back untouched, due now."""
        for chunk in chunks(records):
            self._redis.run("release", *wire.lease_arguments(chunk))

    def settle(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """Carry out outcomes; False where the lease was lost."""
        # all are coded before any is carried out: what is no JSON stops the whole, at once
        coded = [list(wire.outcome_arguments(outcome)) for outcome in outcomes]
        done: list[bool] = []
        for chunk in steps(coded):
            ids = [outcome[0] for outcome in chunk]
            told = chain.from_iterable(outcome[1:] for outcome in chunk)
            found = self._redis.run("settle", self._dedup_seconds, len(ids), *ids, *told)
            done += [bool(one) for one in found]
        return done

    def due(self, limit: int) -> dict[tuple[Stage, str], list[str]]:
        """Return up to *limit* ids that need a hint, by (stage, affinity), oldest due first."""
        stages = [stage.value for stage in Stage if stage is not Stage.WRITE]
        met = sorted(
            (float(due), record_id.decode(), stage.decode(), affinity.decode())
            for answer in self._look(stages, limit)
            for stage, affinity, record_id, due in groups(answer, 4)
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
            found.decode()
            for chunk in chunks(ids)
            for found in self._redis.run("active_media", *chunk)
        }

    def active(self, *kinds: Kind) -> int:
        """Return how many records of *kinds*, by default events and media, are active."""
        names = [f"k:{kind}" for kind in kinds or (Kind.EVENT, Kind.MEDIA)]
        return sum(int(count or 0) for count in self._redis.fields("n", *names))

    def waiting_pages(self, cursor: str, most: int) -> list[float]:
        """Return the ages of up to *most* pages of *cursor* that are not ingested yet."""
        ages = self._redis.run("waiting_pages", page_record_id(f"{cursor}:"), most)
        return [float(age) for age in ages]

    def states(self, ids: Sequence[str]) -> dict[str, State]:
        """Return the state of those of the record ids that are there."""
        return {
            record_id.decode(): State(state.decode())
            for chunk in chunks(ids)
            for record_id, state in groups(self._redis.run("states", *chunk), 2)
        }

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
        bare = "1" if match.bare else ""
        if match.ids:
            for chunk in chunks(list(dict.fromkeys(match.ids))):
                limits = (len(chunk), bare)
                _, answer = self._redis.run("dead_letters", *wanted, *limits, "ids", *chunk)
                found |= _letters(answer)
            newest = sorted(found.values(), key=lambda one: (one.died_at, one.id), reverse=True)
            return newest[: match.limit]
        rank, most = 0, MAX_LETTERS_SCANNED if match.limit is None else match.limit
        while 0 <= rank < MAX_LETTERS_SCANNED and len(found) < most:
            room = min(CHUNK_RECORDS, most - len(found))
            rank, answer = self._redis.run("dead_letters", *wanted, room, bare, "", rank)
            found |= _letters(answer)
        return list(found.values())

    def requeue(self, ids: Sequence[str], stage: Stage | None = None) -> int:
        """
        Send dead records back; returns how many. Those with no business in *stage* stay dead.

        One that died at the writer goes back there with its rows, which were kept. A dead source
        row (an event at INGEST) can only go to INGEST, where it is parsed again.
        """
        wanted = stage.value if stage else ""
        return sum(
            # the client repeats a call whose answer is lost, and these are to be counted then
            self._redis.run("requeue", wanted, secrets.token_hex(8), *chunk)
            for chunk in chunks(list(dict.fromkeys(ids)))
        )

    def find(self, record_id: str) -> tuple[Record, texts.History] | None:
        """Return any record in any state, without its lease, and its history."""
        found = self._redis.run("find", record_id)
        if found is None:
            return None
        now, head, data, history, rows, stage = found
        record = wire.record_from(record_id, Stage(stage.decode()), float(now), head, data, rows)
        return record, texts.history_from(record.kind, record.admitted_at, history)

    def census(self, *, ages: bool = True) -> Census:
        """Count everything; only the ages are looked up, among the first records of each stage."""
        stages = [stage.value for stage in Stage] if ages else []
        counts, length, pending, found = self._redis.run("census", SCANNED, *stages)
        return census_from(counts, length, pending, found)

    def _look(self, stages: Sequence[str], limit: int) -> Iterator[list[bytes]]:
        for start in range(0, limit, CHUNK_RECORDS):
            more, answer = self._redis.run("due", min(CHUNK_RECORDS, limit - start), *stages)
            yield answer
            if not more:
                return


def _letters(answer: list[bytes]) -> dict[str, DeadLetter]:
    letters = (wire.letter_from(*letter) for letter in groups(answer, 5))
    return {letter.id: letter for letter in letters}
