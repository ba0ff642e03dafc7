"""What the in-memory ledger keeps: records, ids of finished ones, the stream with its readers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from claimx.adapters.ledger import texts
from claimx.domain.records import DeadLetter, Failure, Kind, Record, Stage, State

MOST_NOTES = 19  # the admission is the twentieth


@dataclass(slots=True)
class Kept:
    """One record; *look_at* is when the redriver looks at it, *owed*: dead, its rows unwritten."""

    id: str
    kind: Kind
    stage: Stage
    coded: bytes
    trace: str
    admitted_at: float
    entered_at: float
    due: float
    look_at: float | None
    state: State = State.READY
    lease: str = ""
    leased_until: float = 0.0
    attempts: int = 0
    tries: int = 0
    losses: int = 0
    replays: int = 0
    waiting_since: float | None = None
    affinity: str = ""
    rows: bytes = b""
    owed: bool = False
    entry: str = ""
    fresh: int = 0
    failure: Failure | None = None
    died_at: float = 0.0
    notes: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MOST_NOTES))

    @property
    def dead(self) -> bool:
        """Whether it is a dead letter."""
        return self.state is State.DEAD

    @property
    def waits_in(self) -> Stage | None:
        """The stage in whose index it stands: a dead record only while its rows are owed."""
        if self.dead:
            return Stage.WRITE if self.owed else None
        return self.stage

    def free(self) -> None:
        """Take the lease off."""
        self.lease, self.leased_until = "", 0.0

    def enter(self, stage: Stage, now: float, delay: float = 0.0) -> None:
        """Begin a stage anew."""
        self.stage, self.state = stage, State.READY
        self.due, self.entered_at = now + delay, now
        self.attempts, self.losses, self.waiting_since, self.owed = 0, 0, None, False
        self.free()

    def note(self, now: float, what: str, **more: Any) -> None:
        """Put an entry into the history."""
        self.notes.append({"at": round(now, 3), "stage": self.stage.value, "what": what, **more})

    def history(self) -> texts.History:
        """Return the history, the admission first."""
        return (texts.admission_of(self.kind, self.admitted_at), *(dict(n) for n in self.notes))

    def record(self, now: float, *, stage: Stage, rows: bytes, lease: str = "") -> Record:
        """Return it as a worker sees it."""
        return Record(
            id=self.id,
            kind=self.kind,
            stage=stage,
            data=texts.decoded(self.coded, self.fresh),
            lease=lease,
            attempts=self.attempts,
            tries=self.tries,
            trace=self.trace,
            admitted_at=self.admitted_at,
            waited_seconds=0.0 if self.waiting_since is None else now - self.waiting_since,
            rows=rows,
            state=self.state,
        )

    def letter(self, failure: Failure) -> DeadLetter:
        """Return it as an operator sees it."""
        return DeadLetter(
            id=self.id,
            kind=self.kind,
            stage=self.stage,
            failure=failure,
            died_at=self.died_at,
            trace=self.trace,
            attempts=self.attempts,
            replays=self.replays,
            data=texts.decoded(self.coded, self.fresh),
            history=self.history(),
        )


class Stream:
    """Entries that name records, each handed out once and again when its reader falls silent."""

    def __init__(self) -> None:
        self._entries: dict[str, str] = {}
        self._read_at: dict[str, float] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def pending(self) -> int:
        """How many entries were read and not acknowledged."""
        return len(self._read_at)

    def add(self, record_id: str) -> str:
        """Put a record on the stream; returns the entry."""
        self._last += 1
        entry = f"{self._last}-0"
        self._entries[entry] = record_id
        return entry

    def drop(self, entry: str) -> None:
        """Acknowledge and delete."""
        self._entries.pop(entry, None)
        self._read_at.pop(entry, None)

    def unread(self, entry: str) -> bool:
        """Say whether the entry waits for its first reader."""
        return entry in self._entries and entry not in self._read_at

    def stale(self, now: float, seconds: float) -> Iterator[tuple[str, str]]:
        """Yield entries read longer than *seconds* ago, each of which counts as read now."""
        for entry in [entry for entry, at in self._read_at.items() if now - at >= seconds]:
            self._read_at[entry] = now
            yield entry, self._entries[entry]

    def read(self, count: int, now: float) -> list[tuple[str, str]]:
        """Return up to *count* entries that nobody has read."""
        unread = [(e, r) for e, r in self._entries.items() if e not in self._read_at][:count]
        self._read_at.update((entry, now) for entry, _ in unread)
        return unread


class Remembered:
    """Ids that are known, each until its time has come; *now* gives epoch seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._forget_at: dict[str, float] = {}

    def __contains__(self, record_id: str) -> bool:
        return self._forget_at.get(record_id, 0.0) > self._now()

    def forget(self, record_id: str) -> None:
        """Forget an id."""
        self._forget_at.pop(record_id, None)

    def add(self, record_id: str, seconds: float) -> None:
        """Remember an id from now on; for no time is not at all."""
        if seconds > 0:
            self._forget_at[record_id] = self._now() + seconds
