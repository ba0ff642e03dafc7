"""One record as the book has it, and where the protocol lets it go."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from claimx.domain.errors import ErrorCategory
from claimx.domain.records import (
    Advance,
    Buried,
    Failure,
    Kind,
    NewRecord,
    Outcome,
    Record,
    Retried,
    Stage,
    State,
)

MOST_LOSSES = 10
FIRST = {Kind.PAGE: Stage.INGEST, Kind.EVENT: Stage.ENRICH, Kind.MEDIA: Stage.DOWNLOAD}
OPEN = {
    Kind.PAGE: {Stage.INGEST},
    Kind.EVENT: {Stage.ENRICH, Stage.WRITE},
    Kind.MEDIA: {Stage.DOWNLOAD, Stage.UPLOAD, Stage.RECORD, Stage.WRITE},
}


@dataclass(slots=True)
class Unit:
    """
    One record.

    *waiting* is since when it waits without a break; *owed*: it is dead, and its rows are not yet
    in the lake; *died_writing*: it was a dead letter of the writer's once.
    """

    kind: Kind
    stage: Stage
    data: dict[str, Any]
    trace: str
    admitted: float
    due: float
    state: State = State.READY
    lease: str = ""
    until: float = 0.0
    attempts: int = 0
    tries: int = 0
    losses: int = 0
    replays: int = 0
    waiting: float | None = None
    rows: bytes = b""
    owed: bool = False
    affinity: str = ""
    died_writing: bool = False
    failure: Failure | None = field(default=None, repr=False)

    @property
    def dead(self) -> bool:
        return self.state is State.DEAD

    @property
    def place(self) -> Stage | None:
        """The one stage that may work on it: of a dead one the writer, while rows are owed."""
        if self.dead:
            return Stage.WRITE if self.owed else None
        return self.stage

    def free_at(self, now: float) -> bool:
        """Whether a worker may have it."""
        return self.due <= now and self.lease_is_over(now)

    def lease_is_over(self, now: float) -> bool:
        return not self.lease or self.until <= now

    def enter(self, stage: Stage, due: float) -> None:
        """Begin a stage: what is counted in a stage begins anew."""
        self.stage, self.state, self.due = stage, State.READY, due
        self.attempts, self.losses, self.waiting, self.owed = 0, 0, None, False
        self.free()

    def free(self) -> None:
        self.lease, self.until = "", 0.0

    def idle_state(self) -> State:
        """What it is in when nobody holds it."""
        if self.waiting is not None:
            return State.WAITING
        return State.RETRYING if self.attempts else State.READY

    def bury(self, failure: Failure, now: float, rows: bytes = b"") -> None:
        """To the dead letters; of one that is there, its rows are given up."""
        if self.dead:
            self.owe_nothing()
            return
        self.free()
        self.state, self.failure, self.waiting = State.DEAD, failure, None
        self.losses = 0  # what it owes is the writer's, another stage
        self.died_writing |= self.stage is Stage.WRITE
        if rows:
            self.owed, self.rows, self.due = True, rows, now

    def settle(self, outcome: Outcome, now: float) -> None:
        """What its holder made of it."""
        if outcome.data is not None:
            self.data = plain(outcome.data)
        match outcome:
            case Advance():
                self.enter(outcome.stage, now + outcome.delay)
                self.affinity = outcome.affinity
                self.rows = outcome.rows if outcome.stage is Stage.WRITE else b""
            case Buried():
                self.bury(outcome.failure, now, outcome.rows)
            case Retried():
                self.free()
                self.due, self.waiting = now + outcome.delay, None
                self.attempts += not self.dead
                self.state = self.state if self.dead else State.RETRYING
            case _:
                self.free()
                self.due = now + outcome.delay
                self.waiting = now if self.waiting is None else self.waiting
                self.state = self.state if self.dead else State.WAITING

    def lose(self, now: float) -> None:
        """Its holder died; the tenth time in a stage is once too often."""
        self.losses += 1
        if self.losses >= MOST_LOSSES:
            text = "lost by its workers"
            self.bury(Failure(ErrorCategory.UNKNOWN, "LostByWorkers", text, self.stage, now), now)

    def owe_nothing(self) -> None:
        """Its rows are written, or given up."""
        self.free()
        self.owed, self.rows = False, b""

    def way_back(self, wanted: Stage | None) -> Stage | None:
        """Where a requeue sends it, None: it stays dead."""
        if not self.dead:
            return None
        if self.kind is Kind.EVENT and self.stage is Stage.INGEST:
            return Stage.INGEST if wanted in (None, Stage.INGEST) else None
        own = Stage.DOWNLOAD if self.kind is Kind.MEDIA else self.stage
        target = wanted or own
        if target not in OPEN[self.kind]:
            return None
        if target is Stage.WRITE and not (self.stage is Stage.WRITE and self.rows):
            return FIRST[self.kind]
        return target

    def requeue(self, target: Stage, now: float) -> None:
        """Back from the dead letters."""
        self.enter(target, now)
        self.replays += 1
        self.failure, self.affinity = None, ""
        if target is Stage.WRITE:
            return
        self.rows = b""
        if self.kind is Kind.MEDIA:
            gone = {"error", "status"} | ({"cached"} if target is Stage.DOWNLOAD else set())
            kept = {name: value for name, value in self.data.items() if name not in gone}
            self.data = kept | {"refresh": True, "refreshes": 0}

    def revive(self, new: NewRecord, now: float) -> None:
        """Back from the dead letters as if it were new: a later event found another link."""
        self.enter(new.stage, now)
        self.failure, self.affinity, self.rows, self.data = None, "", b"", plain(new.data)

    def record(self, record_id: str, stage: Stage, now: float) -> Record:
        """What its worker is handed."""
        return Record(
            id=record_id,
            kind=self.kind,
            stage=stage,
            data=self.data,
            lease=self.lease,
            attempts=self.attempts,
            tries=self.tries,
            trace=self.trace,
            admitted_at=self.admitted,
            waited_seconds=0.0 if self.waiting is None else now - self.waiting,
            rows=self.rows if stage is Stage.WRITE else b"",
            state=self.state,
        )

    def line(self) -> str:
        """What a reader of a failure wants to know."""
        return (
            f"{self.state} at {self.stage}, {self.attempts} attempts, {self.tries} tries, "
            f"{self.replays} replays, {self.losses} losses, lease {self.lease or 'none'} "
            f"until {self.until:.2f}, due {self.due:.2f}, rows owed: {self.owed}"
        )


def unit_of(new: NewRecord, now: float) -> Unit:
    """A record that is admitted now."""
    return Unit(new.kind, new.stage, plain(new.data), new.trace, now, now)


def plain(data: dict[str, Any]) -> dict[str, Any]:
    """What is left of data that went through JSON."""
    return json.loads(json.dumps(data))
