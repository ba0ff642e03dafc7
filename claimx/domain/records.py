"""
The ledger's records: one unit of work each, and the outcomes a stage can give it.

A record is in exactly one state. ``ready``/``retrying``/``waiting`` differ only in why it is due
when it is; ``leased`` means that a worker holds it until its lease ends; ``dead`` is a dead letter.
A record that is done is gone: the lake has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from claimx.domain.errors import ErrorCategory
from claimx.domain.value import value


class Kind(StrEnum):
    """What a record stands for."""

    PAGE = "page"
    EVENT = "event"
    MEDIA = "media"


class Stage(StrEnum):
    """A step of the pipeline that records wait for; `WRITE` is the lake writer's."""

    INGEST = "ingest"
    ENRICH = "enrich"
    DOWNLOAD = "download"
    UPLOAD = "upload"
    RECORD = "record"
    WRITE = "write"


class State(StrEnum):
    """Why a record is where it is."""

    READY = "ready"
    LEASED = "leased"
    RETRYING = "retrying"
    WAITING = "waiting"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Failure:
    """
    Why a record failed, fit for an operator: no personal data, no secrets.

    *reason* is why it was given up on (empty while it is still being retried), *at* epoch seconds.
    """

    category: ErrorCategory
    error: str
    message: str
    stage: Stage
    at: float
    status: int | None = None
    host: str | None = None
    reason: str = ""


@value
class Record:
    """
    A record as `Ledger.claim` hands it out; *lease* must come back with the outcome.

    *data* is the JSON object that it carries (an event, a media item with what the stages added,
    a page's rows); *attempts* are the retries spent in this stage, *tries* every run of the record
    over all stages before this one, *waited_seconds* the age of an unbroken wait,
    *rows* the encoded changes that wait for the lake writer.
    """

    id: str
    kind: Kind
    stage: Stage
    data: dict[str, Any]
    lease: str = ""
    attempts: int = 0
    tries: int = 0
    trace: str = ""
    admitted_at: float = 0.0
    waited_seconds: float = 0.0
    rows: bytes = b""
    state: State = State.LEASED


@value
class NewRecord:
    """
    A record to admit: an event from a page, or a media file found by an event.

    *trace* is handed on from what led to it. With *revive*, a dead record of the same id goes back
    to *stage* with this data (a later event found a fresh link); an active one is left alone.
    """

    id: str
    kind: Kind
    stage: Stage
    data: dict[str, Any]
    trace: str
    revive: bool = False


@value
class Advance:
    """
    On to *stage* with *data*; *rows* for the lake if the stage is WRITE, *spawn* admitted with it.

    Attempts start anew. Going back to an earlier stage (a cached file that vanished) is an
    `Advance` as well. *affinity* is the cache node that alone can do the next stage, if any.
    """

    record: Record
    stage: Stage
    data: dict[str, Any]
    rows: bytes = b""
    spawn: tuple[NewRecord, ...] = ()
    affinity: str = ""
    delay: float = 0.0


@value
class Retried:
    """Same stage after *delay* seconds, an attempt more. *data*, if given, replaces its data."""

    record: Record
    delay: float
    failure: Failure
    data: dict[str, Any] | None = None


@value
class Waited:
    """Same stage after *delay* seconds, no attempt spent. *data*, if given, replaces its data."""

    record: Record
    delay: float
    failure: Failure
    data: dict[str, Any] | None = None


@value
class Buried:
    """
    To the dead letters, in one step with whatever it had already found.

    *rows* are written to the lake by the writer although the record is dead (a failed media file's
    attachment row, a dead event's entity rows); *spawn* is admitted. *data*, when given, replaces
    the record's.
    """

    record: Record
    failure: Failure
    rows: bytes = b""
    spawn: tuple[NewRecord, ...] = ()
    data: dict[str, Any] | None = None


Outcome: TypeAlias = Advance | Retried | Waited | Buried


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead record with its failure and how it got there; *replays* counts requeues."""

    id: str
    kind: Kind
    stage: Stage
    failure: Failure
    died_at: float
    trace: str
    attempts: int
    replays: int
    data: dict[str, Any] = field(repr=False)
    history: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class DeadFilter:
    """
    Which dead letters a command means; absent parts match everything.

    Without a *limit* it means all that are there when it is asked. *bare* ones come without data
    and history, of which a hundred thousand would fill a small host.
    """

    ids: tuple[str, ...] = ()
    stage: Stage | None = None
    category: ErrorCategory | None = None
    error: str | None = None
    kind: Kind | None = None
    limit: int | None = 1000
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Census:
    """
    The ledger counted, for the status and the invariant.

    *counters* are totals by name since the ledger began, kept in the same step as each change of
    state: ``<kind>.admitted``, ``<kind>.recorded``, ``event.unhandled``, ``<kind>.requeued``,
    ``<kind>.duplicate``. *stages* maps a stage to its active records by state;
    *by_attempts* a stage to {attempts: records}, exact up to a scan bound;
    *dead* counts by kind.
    """

    counters: dict[str, int]
    stages: dict[Stage, dict[State, int]]
    active: dict[Kind, int]
    dead: dict[Kind, int]
    by_attempts: dict[Stage, dict[int, int]]
    oldest_seconds: dict[Stage, float]
    stream_length: int
    stream_pending: int

    def missing(self, kind: Kind) -> int:
        """Return admitted - recorded - unhandled - dead - active; zero, or records went astray."""
        count = self.counters.get
        return (
            count(f"{kind}.admitted", 0)
            - count(f"{kind}.recorded", 0)
            - count(f"{kind}.unhandled", 0)
            - self.dead.get(kind, 0)
            - self.active.get(kind, 0)
        )


def event_record_id(event_id: str) -> str:
    """Return the id of an event's record."""
    return f"e:{event_id}"


def media_record_id(media_id: str) -> str:
    """Return the id of a media file's record."""
    return f"m:{media_id}"


def records_named(names: Iterable[str]) -> tuple[str, ...]:
    """Return the records that *names* may mean: ids of records, or of events and media files."""
    return tuple(
        dict.fromkeys(
            one for name in names for one in (name, event_record_id(name), media_record_id(name))
        )
    )


def page_record_id(page_id: str) -> str:
    """Return the id of a page's record."""
    return f"p:{page_id}"
