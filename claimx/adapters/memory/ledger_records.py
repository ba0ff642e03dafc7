"""The in-memory ledger's records, and what several of its methods do to one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from claimx.adapters.ledger import texts
from claimx.adapters.memory.ledger_state import Kept, Remembered, Stream
from claimx.domain.errors import ErrorCategory
from claimx.domain.records import Failure, Kind, NewRecord, Record, Stage, State
from claimx.domain.retry import LONGEST_DELAY_SECONDS
from claimx.domain.times import seconds_left

GRACE_SECONDS = 5.0
MOST_LOSSES = 10


class Records:
    """
    Records by id, the counters and the ids remembered, and the stream of those to be written.

    Whoever calls holds the ledger's lock. *now* gives epoch seconds; *dedup_seconds* is how long
    an event that came by another way than a page is remembered.
    """

    def __init__(self, now: Callable[[], float], dedup_seconds: float) -> None:
        self.now = now
        self.by_id: dict[str, Kept] = {}
        self.counters: Counter[str] = Counter()
        self.remembered = Remembered(now)
        self.stream = Stream()
        self._dedup_seconds = dedup_seconds

    # leases

    def held(self, record: Record, stage: Stage | None = None) -> Kept | None:
        """Return the record if the lease is still the one it was claimed with."""
        kept = self.by_id.get(record.id)
        if kept is None or not record.lease or kept.lease != record.lease:
            return None
        return kept if kept.waits_in is (stage or record.stage) else None

    def lease(self, kept: Kept, stage: Stage, name: str, until: float) -> Record:
        """Lease a record; returns it as its worker sees it."""
        if not kept.dead:
            kept.state = State.LEASED
        kept.lease, kept.leased_until, kept.look_at = name, until, until
        rows = kept.rows if stage is Stage.WRITE else b""
        record = kept.record(self.now(), stage=stage, rows=rows, lease=name)
        kept.tries += not kept.dead
        return record

    def lost(self, kept: Kept) -> bool:
        """Note a lease that ran out; says whether that was once too often."""
        kept.losses += 1
        if kept.losses < MOST_LOSSES:
            kept.note(self.now(), "lost", holder=kept.lease)
            return False
        failure = Failure(
            ErrorCategory.UNKNOWN,
            "LostByWorkers",
            f"lost by its workers {MOST_LOSSES} times",
            kept.stage,
            self.now(),
            reason="lost by its workers",
        )
        self.bury(kept, failure)
        return True

    # coming and going

    def is_new(self, record_id: str, seconds: float) -> bool:
        """Say whether an event is met for the first time, and remember it."""
        known = record_id in self.remembered
        if not known:
            self.remembered.add(record_id, seconds)
        if known or record_id in self.by_id:
            self.counters["event.duplicate"] += 1
            return False
        return True

    def create(self, new: NewRecord, coded: bytes, record_id: str) -> Kept:
        """Admit a record, under an id that may differ from its own."""
        now = self.now()
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
        self.by_id[record_id] = kept
        self.counters[f"{new.kind}.admitted"] += 1
        return kept

    def spawn(self, new: NewRecord, coded: bytes) -> None:
        """Admit a record unless it is there or remembered; one that is dead may be revived."""
        kept = self.by_id.get(new.id)
        if kept is not None and kept.dead and new.revive:
            kept.note(self.now(), "revived")
            self.resurrect(kept, new.stage, look_in=GRACE_SECONDS)
            kept.coded, kept.fresh, kept.rows = coded, 0, b""
            self.counters[f"{new.kind}.revived"] += 1
        elif kept is not None or new.id in self.remembered:
            self.counters[f"{new.kind}.duplicate"] += 1
        else:
            if new.kind is Kind.EVENT:
                self.remembered.add(new.id, self._dedup_seconds)
            self.create(new, coded, new.id)

    def readmit(self, new: NewRecord, coded: bytes) -> bool:
        """Admit a record unless it is there, whatever is remembered of its id."""
        if new.id in self.by_id:
            self.counters[f"{new.kind}.duplicate"] += 1
            return False
        self.remembered.forget(new.id)
        if new.kind is Kind.EVENT:
            self.remembered.add(new.id, self._dedup_seconds)
        self.create(new, coded, new.id)
        return True

    def bury(self, kept: Kept, failure: Failure, rows: bytes = b"") -> None:
        """Make a dead letter, which may owe *rows*; of one that is, its rows were refused."""
        now = self.now()
        kept.note(now, "rows refused" if kept.dead else "buried", **texts.note_of(failure))
        self.unlist(kept)
        kept.free()
        kept.look_at = None
        if kept.dead:
            kept.owed, kept.rows = False, b""
            return
        kept.state, kept.failure, kept.died_at = State.DEAD, failure, now
        kept.waiting_since, kept.losses = None, 0
        if rows:
            kept.owed, kept.rows, kept.due = True, rows, now
            self.enlist(kept)

    def resurrect(self, kept: Kept, stage: Stage, look_in: float) -> None:
        """Let a dead record begin *stage*, looked at in so many seconds."""
        now = self.now()
        self.unlist(kept)
        kept.enter(stage, now)
        kept.failure, kept.affinity = None, ""
        kept.look_at = now + look_in

    # the stream

    def enlist(self, kept: Kept) -> None:
        """Put a record on the stream, for any writer."""
        self.unlist(kept)
        kept.entry = self.stream.add(kept.id)
        kept.look_at = self.now() + GRACE_SECONDS

    def unlist(self, kept: Kept) -> None:
        """Take a record off the stream."""
        self.stream.drop(kept.entry)
        kept.entry = ""


def has_come(moment: float, now: float) -> bool:
    """Say whether a record is due, or its lease is over, that was to be so at *moment*."""
    return not seconds_left(moment, now, LONGEST_DELAY_SECONDS)


def coded(records: Iterable[NewRecord]) -> list[tuple[NewRecord, bytes]]:
    """Return records with their data coded; raises Malformed for what is no JSON."""
    return [(new, texts.encoded(new.id, new.data)) for new in records]
