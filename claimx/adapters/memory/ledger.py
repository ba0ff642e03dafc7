"""`claimx.domain.ports.Ledger` in one process, on a clock of the caller's."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any

from claimx.adapters.ledger import wire
from claimx.adapters.memory.ledger_state import Kept, Stream
from claimx.domain.errors import ErrorCategory
from claimx.domain.ports import Admitted, Checkpoint, DeadOnArrival
from claimx.domain.records import (
    Advance,
    Buried,
    Census,
    DeadFilter,
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
from claimx.domain.times import Micros

GRACE_SECONDS = 5.0
UNREAD_SECONDS = 60.0
MOST_LOSSES = 10
TAKEOVER_SECONDS = 15.0

_FIRST = {Kind.PAGE: Stage.INGEST, Kind.EVENT: Stage.ENRICH, Kind.MEDIA: Stage.DOWNLOAD}
_OPEN = {
    Kind.PAGE: {Stage.INGEST},
    Kind.EVENT: {Stage.ENRICH, Stage.WRITE},
    Kind.MEDIA: {Stage.DOWNLOAD, Stage.UPLOAD, Stage.RECORD, Stage.WRITE},
}


class MemoryLedger:
    """
    A ledger that ends with its process; safe for several threads.

    *clock* gives epoch seconds. `read_rows` never waits. The census is counted from the records,
    so that it can disprove the counters.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        *,
        dedup_seconds: float = 86_400.0,
        takeover_seconds: float = TAKEOVER_SECONDS,
    ) -> None:
        self._clock = clock
        self._dedup_seconds = dedup_seconds
        self._takeover_seconds = takeover_seconds
        self._records: dict[str, Kept] = {}
        self._forget_at: dict[str, float] = {}
        self._cursors: dict[str, tuple[Checkpoint, int]] = {}
        self._counters: Counter[str] = Counter()
        self._stream = Stream()
        self._numbers = count(1)
        self._lock = threading.RLock()

    def ping(self) -> None:
        """Answer."""

    # polling

    def checkpoint(self, cursor: str) -> Checkpoint | None:
        """Return the cursor's checkpoint, None before its first move."""
        found = self._cursors.get(cursor)
        return found[0] if found else None

    def store_page(
        self,
        cursor: str,
        expected: Checkpoint | None,
        move_to: Micros,
        pages: Sequence[NewRecord],
        fence: int = 0,
    ) -> Checkpoint | None:
        """Store page records and move the checkpoint; None when another was faster."""
        with self._lock:
            before, stored_fence = self._cursors.get(cursor, (None, 0))
            version = before.version if before else 0
            if version != (expected.version if expected else 0) or fence < stored_fence:
                return None
            moved = Checkpoint(max(move_to, before.source_time if before else move_to), version + 1)
            for new, coded in _coded(pages):
                if new.kind is Kind.PAGE:
                    taken = new.id in self._records
                    self._create(new, coded, f"{new.id}~{next(self._numbers)}" if taken else new.id)
                else:
                    self._spawn(new, coded)
            self._cursors[cursor] = moved, fence
            return moved

    def admit(
        self,
        page: Record,
        events: Sequence[NewRecord],
        malformed: Sequence[DeadOnArrival],
        seen_seconds: float,
    ) -> Admitted | None:
        """Turn a claimed page into event records and dead letters, and drop the page."""
        coded = _coded(events), _coded([dead.record for dead in malformed])
        with self._lock:
            kept = self._held(page)
            if kept is None:
                return None
            ids: list[str] = []
            buried = 0
            for new, data in coded[0]:
                if self._is_new(new.id, seen_seconds):
                    self._create(new, data, new.id)
                    ids.append(new.id)
            for (new, data), dead in zip(coded[1], malformed, strict=True):
                if self._is_new(new.id, seen_seconds):
                    self._bury(self._create(new, data, new.id), dead.failure)
                    buried += 1
            del self._records[page.id]
            self._counters[f"{kept.kind}.recorded"] += 1
            duplicates = len(events) + len(malformed) - len(ids) - buried
            return Admitted(tuple(ids), duplicates, buried)

    def seen(self, ids: Sequence[str]) -> set[str]:
        """Return those ids that are remembered."""
        with self._lock:
            return {record_id for record_id in ids if self._remembers(record_id)}

    # stages

    def claim(self, stage: Stage, ids: Sequence[str], lease_seconds: float) -> list[Record]:
        """Lease those of *ids* that are in *stage*, due and not leased."""
        with self._lock:
            now, lease = self._clock(), f"lease-{next(self._numbers)}"
            found = []
            for record_id in dict.fromkeys(ids):
                kept = self._records.get(record_id)
                if kept is None or kept.waits_in is not stage or kept.due > now:
                    continue
                if kept.lease and (kept.leased_until > now or self._lost(kept)):
                    continue
                found.append(self._leased(kept, stage, lease, now + lease_seconds))
            return found

    def renew(self, records: Sequence[Record], lease_seconds: float) -> set[str]:
        """Extend leases; returns the ids still held."""
        with self._lock:
            held = [kept for record in records if (kept := self._held(record))]
            for kept in held:
                kept.leased_until = kept.look_at = self._clock() + lease_seconds
            return {kept.id for kept in held}

    def release(self, records: Sequence[Record]) -> None:
        """Give leases back untouched, due now."""
        with self._lock:
            for record in records:
                kept = self._held(record)
                if kept is None:
                    continue
                if not kept.dead:
                    waiting = State.RETRYING if kept.attempts else State.READY
                    kept.state = waiting if kept.waiting_since is None else State.WAITING
                    kept.tries -= 1
                kept.look_at = self._clock()
                kept.free()

    def settle(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """Carry out outcomes; False where the lease was lost."""
        coded = [self._prepared(outcome) for outcome in outcomes]
        with self._lock:
            return [
                self._settled(outcome, data, spawn)
                for outcome, (data, spawn) in zip(outcomes, coded, strict=True)
            ]

    def due(self, limit: int) -> dict[tuple[Stage, str], list[str]]:
        """Return up to *limit* ids that need a hint, by (stage, affinity), oldest due first."""
        with self._lock:
            now = self._clock()
            met = sorted(
                (kept for kept in self._records.values() if _is_up(kept, now)),
                key=lambda kept: (kept.look_at or 0.0, kept.id),
            )
            hinted = [kept for kept in met if kept.waits_in is not Stage.WRITE][:limit]
            for kept in hinted:
                kept.look_at = now + GRACE_SECONDS
            for kept in [kept for kept in met if kept.waits_in is Stage.WRITE][:limit]:
                if self._stream.unread(kept.entry):
                    kept.look_at = now + UNREAD_SECONDS
                else:
                    self._enlist(kept)
            found: dict[tuple[Stage, str], list[str]] = {}
            for kept in sorted(hinted, key=lambda kept: (kept.due, kept.id)):
                found.setdefault((kept.stage, kept.affinity), []).append(kept.id)
            return found

    def active_media(self, ids: Sequence[str]) -> set[str]:
        """Return those of the media record ids that are there, and no dead letters."""
        with self._lock:
            return {
                record_id
                for record_id in ids
                if (kept := self._records.get(record_id)) and not kept.dead
            }

    def active(self) -> int:
        """Return how many event and media records are active."""
        with self._lock:
            return sum(
                not kept.dead and kept.kind is not Kind.PAGE for kept in self._records.values()
            )

    # the lake writer

    def read_rows(self, consumer: str, count: int, block_seconds: float) -> list[tuple[str, str]]:  # noqa: ARG002 - there is one group and no waiting
        """Hand out entries, those of silent consumers first."""
        with self._lock:
            now = self._clock()
            found = [
                (entry, record_id)
                for entry, record_id in self._stream.stale(now, self._takeover_seconds)
                if not ((kept := self._records.get(record_id)) and kept.leased_until > now)
            ][:count]
            return found + self._stream.read(count - len(found), now)

    def forget_entries(self, entry_ids: Sequence[str]) -> None:
        """Acknowledge and delete entries."""
        with self._lock:
            for entry in entry_ids:
                self._stream.drop(entry)

    def finish(self, done: Sequence[tuple[str, Record]], known_seconds: float) -> int:
        """Settle pairs whose rows are committed; returns how many."""
        with self._lock:
            settled = 0
            for _, record in done:
                kept = self._held(record, Stage.WRITE)
                if kept is None:
                    continue
                settled += 1
                self._unlist(kept)
                kept.free()
                if kept.dead:
                    kept.owed, kept.rows, kept.look_at = False, b"", None
                else:
                    del self._records[kept.id]
                    self._count_finished(kept, record.data.get("status"), known_seconds)
            self.forget_entries([entry for entry, _ in done])
            return settled

    def fail_rows(self, done: Sequence[tuple[str, Record]], failure: Failure) -> int:
        """Bury records whose rows the lake refuses; the dead only lose them. Returns how many."""
        with self._lock:
            refused = 0
            for _, record in done:
                if kept := self._held(record, Stage.WRITE):
                    self._bury(kept, failure)
                    refused += 1
            self.forget_entries([entry for entry, _ in done])
            return refused

    # dead letters and the operator

    def dead_letters(self, match: DeadFilter) -> list[DeadLetter]:
        """Return dead letters, the newest first."""
        with self._lock:
            found = [
                kept.letter(kept.failure)
                for kept in self._records.values()
                if kept.dead and kept.failure and _matches(kept, kept.failure, match)
            ]
            newest = sorted(found, key=lambda letter: (letter.died_at, letter.id), reverse=True)
            return newest[: match.limit]

    def requeue(self, ids: Sequence[str], stage: Stage | None = None) -> int:
        """Send dead records back; returns how many. Those with no business in *stage* stay dead."""
        with self._lock:
            back = 0
            for record_id in dict.fromkeys(ids):
                kept = self._records.get(record_id)
                target = _target(kept, stage) if kept and kept.dead else None
                if kept is None or target is None:
                    continue
                kept.note(self._clock(), "requeued", to=target.value)
                self._resurrect(kept, target, look_in=0.0)
                kept.replays += 1
                if target is Stage.WRITE:
                    self._enlist(kept)
                else:
                    kept.rows = b""
                    if kept.kind is Kind.MEDIA:
                        whole = target is Stage.DOWNLOAD
                        kept.fresh = wire.FRESH_FILE if whole else wire.FRESH_LINK
                self._counters[f"{kept.kind}.requeued"] += 1
                back += 1
            return back

    def find(self, record_id: str) -> tuple[Record, tuple[dict[str, Any], ...]] | None:
        """Return any record in any state, without its lease, and its history."""
        with self._lock:
            kept = self._records.get(record_id)
            if kept is None:
                return None
            record = kept.record(self._clock(), stage=kept.stage, rows=kept.rows)
            return record, kept.history()

    def census(self) -> Census:
        """Count everything."""
        with self._lock:
            now = self._clock()
            stages: dict[Stage, Counter[State]] = {stage: Counter() for stage in Stage}
            attempts: dict[Stage, Counter[int]] = {stage: Counter() for stage in Stage}
            oldest: dict[Stage, float] = defaultdict(float, dict.fromkeys(Stage, 0.0))
            active, dead = Counter(dict.fromkeys(Kind, 0)), Counter(dict.fromkeys(Kind, 0))
            for kept in self._records.values():
                if kept.dead:
                    dead[kept.kind] += 1
                    continue
                active[kept.kind] += 1
                stages[kept.stage][kept.state] += 1
                attempts[kept.stage][kept.attempts] += 1
                oldest[kept.stage] = max(oldest[kept.stage], now - kept.entered_at)
            return Census(
                counters=dict(self._counters),
                stages={stage: dict(states) for stage, states in stages.items()},
                active=dict(active),
                dead=dict(dead),
                by_attempts={stage: dict(numbers) for stage, numbers in attempts.items()},
                oldest_seconds=dict(oldest),
                stream_length=len(self._stream),
                stream_pending=self._stream.pending,
            )

    # one record

    def _held(self, record: Record, stage: Stage | None = None) -> Kept | None:
        kept = self._records.get(record.id)
        if kept is None or not record.lease or kept.lease != record.lease:
            return None
        return kept if kept.waits_in is (stage or record.stage) else None

    def _leased(self, kept: Kept, stage: Stage, lease: str, until: float) -> Record:
        if not kept.dead:
            kept.state = State.LEASED
        kept.lease, kept.leased_until, kept.look_at = lease, until, until
        rows = kept.rows if stage is Stage.WRITE else b""
        record = kept.record(self._clock(), stage=stage, rows=rows, lease=lease)
        kept.tries += not kept.dead
        return record

    def _lost(self, kept: Kept) -> bool:
        """Note a lease that ran out; says whether that was once too often."""
        kept.losses += 1
        if kept.losses < MOST_LOSSES:
            kept.note(self._clock(), "lost", holder=kept.lease)
            return False
        failure = Failure(
            ErrorCategory.UNKNOWN,
            "LostByWorkers",
            f"lost by its workers {MOST_LOSSES} times",
            kept.stage,
            self._clock(),
            reason="lost by its workers",
        )
        self._bury(kept, failure)
        return True

    def _prepared(self, outcome: Outcome) -> tuple[bytes | None, list[tuple[NewRecord, bytes]]]:
        """Code what an outcome carries, before any is carried out."""
        data = None if outcome.data is None else wire.encoded(outcome.record.id, outcome.data)
        spawn = outcome.spawn if isinstance(outcome, Advance | Buried) else ()
        return data, _coded(spawn)

    def _settled(
        self, outcome: Outcome, data: bytes | None, spawn: Iterable[tuple[NewRecord, bytes]]
    ) -> bool:
        kept = self._held(outcome.record)
        if kept is None or (kept.dead and isinstance(outcome, Advance)):
            return False
        if data is not None:
            kept.coded, kept.fresh = data, 0
        match outcome:
            case Advance():
                self._advance(kept, outcome)
            case Retried() | Waited():
                self._postpone(kept, outcome)
            case Buried():
                self._bury(kept, outcome.failure, outcome.rows)
        for new, coded in spawn:
            self._spawn(new, coded)
        return True

    def _advance(self, kept: Kept, outcome: Advance) -> None:
        now, delay = self._clock(), max(0.0, outcome.delay)
        kept.note(now, "advanced", to=outcome.stage.value)
        self._unlist(kept)
        kept.enter(outcome.stage, now, delay)
        kept.affinity = outcome.affinity
        kept.look_at = now + (delay or GRACE_SECONDS)
        kept.rows = outcome.rows if outcome.stage is Stage.WRITE else b""
        if outcome.stage is Stage.WRITE and not delay:
            self._enlist(kept)

    def _postpone(self, kept: Kept, outcome: Retried | Waited) -> None:
        now, delay = self._clock(), max(0.0, outcome.delay)
        retried = isinstance(outcome, Retried)
        note = wire.note_of(outcome.failure, outcome.delay)
        kept.note(now, "retried" if retried else "waited", **note)
        kept.due = kept.look_at = now + delay
        self._unlist(kept)
        kept.free()
        if retried:
            kept.waiting_since = None
            kept.attempts += not kept.dead
        elif kept.waiting_since is None:
            kept.waiting_since = now
        if not kept.dead:
            kept.state = State.RETRYING if retried else State.WAITING

    def _bury(self, kept: Kept, failure: Failure, rows: bytes = b"") -> None:
        now = self._clock()
        kept.note(now, "rows refused" if kept.dead else "buried", **wire.note_of(failure))
        self._unlist(kept)
        kept.free()
        kept.look_at = None
        if kept.dead:
            kept.owed, kept.rows = False, b""
            return
        kept.state, kept.failure, kept.died_at = State.DEAD, failure, now
        kept.waiting_since = None
        if rows:
            kept.owed, kept.rows, kept.due = True, rows, now
            self._enlist(kept)

    def _create(self, new: NewRecord, coded: bytes, record_id: str) -> Kept:
        now = self._clock()
        kept = Kept(
            id=record_id,
            kind=new.kind,
            stage=new.stage,
            coded=coded,
            trace=new.trace,
            admitted_at=now,
            entered_at=now,
            due=now,
            look_at=now + GRACE_SECONDS,
        )
        self._records[record_id] = kept
        self._counters[f"{new.kind}.admitted"] += 1
        return kept

    def _spawn(self, new: NewRecord, coded: bytes) -> None:
        kept = self._records.get(new.id)
        if kept is not None and kept.dead and new.revive:
            kept.note(self._clock(), "revived")
            self._resurrect(kept, new.stage, look_in=GRACE_SECONDS)
            kept.coded, kept.fresh, kept.rows = coded, 0, b""
            self._counters[f"{new.kind}.revived"] += 1
        elif kept is not None or self._remembers(new.id):
            self._counters[f"{new.kind}.duplicate"] += 1
        else:
            if new.kind is Kind.EVENT:
                self._remember(new.id, self._dedup_seconds)
            self._create(new, coded, new.id)

    def _resurrect(self, kept: Kept, stage: Stage, look_in: float) -> None:
        now = self._clock()
        self._unlist(kept)
        kept.enter(stage, now)
        kept.failure, kept.affinity = None, ""
        kept.look_at = now + look_in

    def _count_finished(self, kept: Kept, status: object, known_seconds: float) -> None:
        unhandled = kept.kind is Kind.EVENT and status == "unhandled"
        self._counters[f"{kept.kind}.{'unhandled' if unhandled else 'recorded'}"] += 1
        if kept.kind is Kind.MEDIA and status == "completed":
            self._remember(kept.id, known_seconds)

    # the stream and the memory of ids

    def _enlist(self, kept: Kept) -> None:
        self._unlist(kept)
        kept.entry = self._stream.add(kept.id)
        kept.look_at = self._clock() + GRACE_SECONDS

    def _unlist(self, kept: Kept) -> None:
        self._stream.drop(kept.entry)
        kept.entry = ""

    def _remembers(self, record_id: str) -> bool:
        return self._forget_at.get(record_id, 0.0) > self._clock()

    def _remember(self, record_id: str, seconds: float) -> None:
        if seconds > 0:
            self._forget_at[record_id] = self._clock() + seconds

    def _is_new(self, record_id: str, seconds: float) -> bool:
        known = self._remembers(record_id)
        if not known:
            self._remember(record_id, seconds)
        if known or record_id in self._records:
            self._counters["event.duplicate"] += 1
            return False
        return True


def _coded(records: Iterable[NewRecord]) -> list[tuple[NewRecord, bytes]]:
    return [(new, wire.encoded(new.id, new.data)) for new in records]


def _is_up(kept: Kept, now: float) -> bool:
    return kept.waits_in is not None and kept.look_at is not None and kept.look_at <= now


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
    if kept.kind is Kind.EVENT and kept.stage is Stage.INGEST:
        return Stage.INGEST if wanted in (None, Stage.INGEST) else None
    own = Stage.DOWNLOAD if kept.kind is Kind.MEDIA else kept.stage
    target = wanted or own
    if target not in _OPEN[kept.kind]:
        return None
    if target is Stage.WRITE and (kept.stage is not Stage.WRITE or not kept.rows):
        return _FIRST[kept.kind]
    return target
