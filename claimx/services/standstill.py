"""
The poll held at its high-water mark: which stage holds things up, since when, and what to do.

That it is held is a fact of the ledger, so that all processes that poll tell it as one: a line
when it begins, one every few minutes, and one when it is over; never more, however often it is
held and freed. The catch-up is held likewise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from claimx.domain.circuit import AUTH
from claimx.domain.records import Census, Kind, Stage, State
from claimx.domain.times import MICROS_PER_SECOND, Micros, from_seconds, to_iso
from claimx.services.pressure import rows_in
from claimx.services.runtime import Runtime

log = structlog.get_logger(__name__)

RESUME_SHARE = 0.9  # of the mark: a poll that was held begins again below this
AGAIN_SECONDS = 300.0  # between two lines that it is still held

POLL, CATCH_UP = "poll", "catch-up"
STANDING_SECONDS = 60.0  # a catch-up waits for the workers all the time: then it stands still

_HELD, _FREED, _TOLD = "since", "over", "told"  # held since when, until that is over
_LINES = {
    POLL: (
        "back-pressure: the poll pauses until work in flight is done",
        "back-pressure: the poll still pauses",
        "back-pressure is over: the poll goes on",
    ),
    CATCH_UP: (
        "back-pressure: the catch-up pauses until work in flight is done",
        "back-pressure: the catch-up still pauses",
        "back-pressure is over: the catch-up goes on",
    ),
}


@dataclass(frozen=True, slots=True)
class Jam:
    """
    The stage that holds things up: where most of what is in flight stands.

    *waiting* counts its records, for INGEST about the rows in its pages; *advice* says what is
    wrong there and what to do.
    """

    stage: Stage
    waiting: int
    oldest_seconds: float
    in_flight: int
    advice: str

    def __str__(self) -> str:
        what = "rows" if self.stage is Stage.INGEST else "records"
        return (
            f"the stage {self.stage} holds things up: {self.waiting} {what} are there, the oldest"
            f" for {self.oldest_seconds:.0f} s; {self.advice}"
        )


def jam_of(runtime: Runtime, census: Census) -> Jam:
    """Return where most of what *census* counts stands, and why, as far as can be told."""
    depths = {stage: sum(states.values()) for stage, states in census.stages.items()}
    depths[Stage.INGEST] = rows_in(runtime, census.active.get(Kind.PAGE, 0))
    stage = max(depths, key=lambda one: depths[one])
    return Jam(
        stage=stage,
        waiting=depths[stage],
        oldest_seconds=census.oldest_seconds.get(stage, 0.0),
        in_flight=depths[Stage.INGEST]
        + census.active.get(Kind.EVENT, 0)
        + census.active.get(Kind.MEDIA, 0),
        advice=next(
            _advice(
                stage,
                census.stages.get(stage, {}),
                runtime.gates.processes(),
                runtime.gates.circuits(),
            )
        ),
    )


def _advice(
    stage: Stage,
    states: Mapping[State, int],
    processes: Sequence[Mapping[str, str]],
    circuits: Mapping[str, Mapping[str, Any]],
) -> Iterator[str]:
    """Yield what may be wrong at a stage, the likeliest first; never nothing."""
    if stage is Stage.WRITE:
        if not any(one.get("role") == "writer" for one in processes):
            yield "no writer is running: start one with its Procfile line"
    elif not any(_serves(one, stage) for one in processes):
        yield f"no worker serves its queue: start one with -Q {stage}, or without -Q for all"
    shut = [name for name in circuits if circuits[name].get("state") != "closed"]
    if AUTH in shut and stage in (Stage.ENRICH, Stage.DOWNLOAD):
        yield "the API refuses the token: give a new one (CLAIMX_API_TOKEN_FILE)"
    for name in shut:
        if name.partition(":")[0] in _DEPENDENCIES.get(stage, ()):
            yield f"the circuit {name} is open: it goes on by itself when that answers again"
    if states.get(State.RETRYING, 0) + states.get(State.WAITING, 0) > sum(states.values()) / 2:
        yield "most of them have failed and come again: the workers' log says why (comes again)"
    if stage is Stage.WRITE:
        yield "more comes than is written: look for failing flushes in its log, or add a writer"
    yield f"more comes than is done: add workers for the queue {stage}"


_DEPENDENCIES = {
    Stage.ENRICH: ("api",),
    Stage.DOWNLOAD: ("media", "api"),
    Stage.UPLOAD: ("onelake",),
}


def _serves(process: Mapping[str, str], stage: Stage) -> bool:
    """Say whether an announced process takes from the stage's queue; one that does not say may."""
    if process.get("role") != "worker":
        return False
    queues = process.get("queues")
    return queues is None or stage.value in queues.split(",")


def _marker(who: str, what: str) -> str:
    return f"hold:{who}:{what}"


def held_since(runtime: Runtime, who: str = POLL) -> Micros | None:
    """Return since when the poll (or the catch-up) is held, None when it is not."""
    held, freed = (runtime.ledger.checkpoint(_marker(who, what)) for what in (_HELD, _FREED))
    if held is None or (freed is not None and freed.source_time >= held.source_time):
        return None
    return held.source_time


class Hold:
    """
    Whether a reader of the source is held, for one run under its lease's *fence*.

    It is told once it lasts for *patience_seconds*, but not so soon after the last time that it
    was told; and its end only if it was.
    """

    def __init__(
        self, runtime: Runtime, fence: int, who: str = POLL, patience_seconds: float = 0.0
    ) -> None:
        self._runtime = runtime
        self._fence = fence
        self._who = who
        self._patience = patience_seconds
        self.since = held_since(runtime, who)

    @property
    def limit(self) -> int:
        """How much in flight stops a poll from beginning."""
        mark = self._runtime.limits.max_in_flight
        return mark if self.since is None else max(1, int(mark * RESUME_SHARE))

    def begin(self) -> None:
        """Note that it is held, and tell if it is time and nobody has for some minutes."""
        now = from_seconds(self._runtime.ledger.now())
        if self.since is None:
            freed = self._at(_FREED)
            # behind the end of the last one, whatever the clocks of two machines say
            self.since = now = now if freed is None else max(now, freed + 1)
            self._move(_HELD, now)
        if now - self.since < self._patience * MICROS_PER_SECOND:
            return
        told = self._at(_TOLD)
        if told is None or now - told >= AGAIN_SECONDS * MICROS_PER_SECOND:
            self._move(_TOLD, now)
            self._tell(fresh=told is None or told < self.since)

    def end(self) -> None:
        """Note that it goes on, and tell that if it was told before."""
        if self.since is None:
            return
        now = max(from_seconds(self._runtime.ledger.now()), self.since)
        self._move(_FREED, now)
        told = self._at(_TOLD)
        if told is not None and told >= self.since:
            log.warning(
                _LINES[self._who][2],
                held_seconds=(now - self.since) / MICROS_PER_SECOND,
            )
        self.since = None

    def _at(self, what: str) -> Micros | None:
        found = self._runtime.ledger.checkpoint(_marker(self._who, what))
        return None if found is None else found.source_time

    def _move(self, what: str, moment: Micros) -> None:
        ledger, cursor = self._runtime.ledger, _marker(self._who, what)
        ledger.store_page(cursor, ledger.checkpoint(cursor), moment, [], self._fence)

    def _tell(self, *, fresh: bool) -> None:
        jam = jam_of(self._runtime, self._runtime.ledger.census())
        log.warning(
            _LINES[self._who][0 if fresh else 1],
            held_by=jam.stage.value,
            waiting=jam.waiting,
            oldest_seconds=round(jam.oldest_seconds, 1),
            advice=jam.advice,
            since=None if self.since is None else to_iso(self.since),
            in_flight=jam.in_flight,
            limit=self._runtime.limits.max_in_flight,
            setting="CLAIMX_MAX_IN_FLIGHT",
        )
