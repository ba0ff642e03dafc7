"""
What the pipeline needs of the outside, as Protocols; each docstring is the contract.

Every port has a real implementation in `claimx.adapters` and an in-memory one in
`claimx.adapters.memory`, and both pass the suite in ``tests/contracts``.
All ports raise `claimx.domain.errors.ClaimXError` subclasses only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from claimx.domain.changes import Change, MediaItem, Values
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
from claimx.domain.tables import Table
from claimx.domain.times import Micros

# --- the ledger -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """
    How far a cursor has read: everything of the source up to and including *source_time*.

    *version* grows with every move; a move names the version it was decided on.
    """

    source_time: Micros
    version: int = 0


CATCH_UP = "catch-up:"
"""How the names of cursors begin that read what was set aside."""


@dataclass(frozen=True, slots=True)
class Gap:
    """
    A range of the source that a cursor has left out: after < ingestion time <= until.

    *rows* is about how many of it are left, for people.
    """

    after: Micros
    until: Micros
    rows: int = 0

    @property
    def reader(self) -> str:
        """The cursor that reads it."""
        return f"{CATCH_UP}{self.after}"


@dataclass(frozen=True, slots=True)
class Mark:
    """A place that a cursor must have reached: if it is before *least*, it moves to *move_to*."""

    cursor: str
    least: Micros
    move_to: Micros


@dataclass(frozen=True, slots=True)
class DeadOnArrival:
    """A source row that can never become an event: it goes straight to the dead letters."""

    record: NewRecord
    failure: Failure


@dataclass(frozen=True, slots=True)
class Admitted:
    """What `Ledger.admit` did: ids of the new event records, in order, and how many were known."""

    ids: tuple[str, ...]
    duplicates: int
    malformed: int


class Ledger(Protocol):
    """
    The truth about every unit of work. Each method is one atomic step of the store.

    Times inside the ledger are the store's own clock, so a process with a wrong clock is harmless;
    callers give delays, never moments. All ids are record ids (`event_record_id`, ...).
    """

    def ping(self) -> None:
        """Raise Unavailable unless the store answers and accepts writes."""

    def now(self) -> float:
        """
        Return the store's own time in epoch seconds.

        What is noted in the ledger as a moment comes from here, or a process with a wrong clock
        would note one that the others misread.
        """

    # polling
    def checkpoint(self, cursor: str) -> Checkpoint | None:
        """Return the cursor's checkpoint, None before its first move."""

    def store_page(
        self,
        cursor: str,
        expected: Checkpoint | None,
        move_to: Micros,
        pages: Sequence[NewRecord],
        fence: int = 0,
        marks: Sequence[Mark] = (),
    ) -> Checkpoint | None:
        """
        Store page records (stage INGEST) and move the checkpoint, in one step.

        Compare-and-set on the checkpoint, its version and its time: returns the new checkpoint, or
        None (and stores nothing) when *expected* is no longer current, or when a greater *fence*
        has already stored for this cursor. A checkpoint never moves backwards. Other cursors are
        moved to *marks* in the same step: what must be known wherever this checkpoint is.
        """

    def set_aside(
        self, cursor: str, expected: Checkpoint | None, gap: Gap, most: int, fence: int = 0
    ) -> Checkpoint | None:
        """
        Move the checkpoint to the gap's end and keep the gap until it is closed, in one step.

        Returns what `store_page` does. A gap that begins where a kept one does, or comes when
        *most* are kept, goes into that one or the newest: it then covers both and what lies
        between them, and its reader goes back where it was past the begin of the gap that came.
        """

    def gaps(self, cursor: str) -> list[Gap]:
        """Return what *cursor* has set aside and is not closed, the oldest first."""

    def recount_gap(self, cursor: str, gap: Gap, rows: int) -> bool:
        """Note how many rows are left; False when the gap is not there, or was extended."""

    def close_gap(self, cursor: str, gap: Gap, read: Checkpoint | None) -> bool:
        """
        Forget a gap that its reader, whose checkpoint is *read*, has read to the end.

        False when it is not there or was extended, or when its reader is elsewhere: an older copy
        of the ledger was put back meanwhile, and has lost what was read.
        """

    def admit(
        self,
        page: Record,
        events: Sequence[NewRecord],
        malformed: Sequence[DeadOnArrival],
        seen_seconds: float,
    ) -> Admitted | None:
        """
        Turn a claimed page into event records and dead letters, and drop the page: one step.

        An event whose id was seen within *seen_seconds* is a duplicate and is only counted;
        seen-key and record are written together. None when the page's lease is lost.
        """

    def seen(self, ids: Sequence[str]) -> set[str]:
        """Return those of the event record ids that were admitted within the dedup window."""

    def readmit(self, job: str, records: Sequence[NewRecord], fence: int) -> tuple[str, ...] | None:
        """
        Admit those of *records* that are not there, though their ids be remembered: one step.

        For what is known to be neither in the ledger nor in the lake. A record that is there, dead
        or active, is left alone and counted as a duplicate, so two callers admit once. An event is
        remembered anew, a media file no longer counts as completed. Returns the ids admitted, in
        order; None, with nothing done, when a greater *fence* has readmitted for this *job*.
        """

    # stages
    def claim(self, stage: Stage, ids: Sequence[str], lease_seconds: float) -> list[Record]:
        """
        Lease those of *ids* that are in *stage*, due, and not leased; the rest is left out.

        A record found with a lease that ran out (its worker died) is leased anew; after
        10 such losses in one stage it is buried as UNKNOWN ("lost by its workers") instead.
        Claiming WRITE also hands out dead records whose rows are not yet in the lake.
        """

    def renew(self, records: Sequence[Record], lease_seconds: float) -> set[str]:
        """Extend leases; returns the ids still held."""

    def release(self, records: Sequence[Record]) -> None:
        """Give leases back untouched, due now: a worker that shuts down did not start these."""

    def settle(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """
        Carry out what was decided for claimed records; False where the lease was lost.

        Each outcome is atomic with its rows (stage WRITE: the id is added to the lake stream)
        and its spawn. A spawned record that exists already, or whose media file was recorded
        within the dedup window, is not admitted again (see `NewRecord.revive`).
        """

    def due(self, limit: int) -> dict[tuple[Stage, str], list[str]]:
        """
        Return up to *limit* ids that need a hint, by (stage, affinity), oldest due first.

        Each stage has its share of *limit*, so that one with very many holds up no other.
        Each is then not returned again for some seconds, whatever becomes of the hint.
        WRITE records that are due are put back on the lake stream here and not returned.
        """

    def active_media(self, ids: Sequence[str]) -> set[str]:
        """
        Return those of the media record ids that are active: there, and no dead letters.

        A handful of round trips for thousands of ids. What is missing is finished (its attachment
        row is committed), dead, or was never admitted.
        """

    def states(self, ids: Sequence[str]) -> dict[str, State]:
        """
        Return the state of those of the record ids that are there, dead letters included.

        As cheap as `active_media`. An id that is missing is finished, or was never admitted.
        """

    def active(self, *kinds: Kind) -> int:
        """Return how many records of *kinds*, by default events and media, are active; O(1)."""

    def waiting_pages(self, cursor: str, most: int) -> list[float]:
        """
        Return the ages in seconds of up to *most* page records of *cursor* not ingested yet.

        A cursor's pages are those whose ids begin with its name and a colon. Bounded: of some
        thousands of records that wait for INGEST, whosever they are, the others are not looked at.
        """

    # the lake writer: a consumer group on the lake stream
    def read_rows(self, consumer: str, count: int, block_seconds: float) -> list[tuple[str, str]]:
        """
        Hand out up to *count* new (entry id, record id) pairs to this consumer.

        Also takes over entries whose consumer has not been heard of for 15 s. Duplicated or
        stale entries are possible; `claim` sorts them out.
        """

    def forget_entries(self, entry_ids: Sequence[str]) -> None:
        """Acknowledge and delete entries whose record needs nothing any more."""

    def finish(self, done: Sequence[tuple[str, Record]], known_seconds: float) -> int:
        """
        Settle (entry id, record) pairs whose rows are committed, in one step; returns how many.

        Acknowledges the entry, deletes an active record and counts it (``recorded``, or
        ``unhandled`` by its data's ``status``); a dead record only loses its rows. A media
        record that completed is remembered for *known_seconds*, so that it is not fetched again.
        A record whose lease was lost is left alone, its entry is acknowledged.
        """

    def fail_rows(self, done: Sequence[tuple[str, Record]], failure: Failure) -> int:
        """Bury records whose rows the lake refuses, with their entries; returns how many."""

    # dead letters and the operator
    def dead_letters(self, match: DeadFilter) -> list[DeadLetter]:
        """Return dead letters, the newest first."""

    def requeue(self, ids: Sequence[str], stage: Stage | None = None) -> int:
        """
        Send dead records back to the stage they died in (or *stage*), due now; returns how many.

        Media go back to DOWNLOAD with a fresh link asked for; attempts and refreshes start anew.
        Of two callers only one counts a record. Rows of it not yet written are dropped.
        """

    def find(self, record_id: str) -> tuple[Record, tuple[dict[str, Any], ...]] | None:
        """Return any record in any state with its history (newest last), or None."""

    def census(self, *, ages: bool = True) -> Census:
        """Count everything; bounded, may cost some milliseconds, far less without *ages*."""


# --- shared gates (Redis; each answers "free" within milliseconds when the store is away) ------


class Circuit(Protocol):
    """
    One dependency's circuit, shared by all processes (domain page, section 2).

    Only outcomes are reported; nothing is ever called through it.
    """

    def permit(self, count: int) -> tuple[int, float]:
        """
        Return (how many calls may start now, seconds until asking again is useful).

        Closed: all of them. Open: none, and the rest of the open time. Half-open: the trial
        calls that are left.
        """

    def report(self, successes: int, failures: int) -> None:
        """Report outcomes since the last report, in the order successes, then failures."""

    def give_back(self, count: int) -> None:
        """Hand back trial permits whose calls said nothing either way (a 404, a cancelled call)."""


class Gates(Protocol):
    """Circuits and the other things that all processes share."""

    def circuit(self, name: str) -> Circuit:
        """
        Return the circuit ``api``, ``onelake``, ``kusto`` or ``media:<host>``.

        ``auth`` is the door that a 401 shuts for everybody until a probe's token is accepted.
        """

    def circuits(self) -> dict[str, dict[str, Any]]:
        """Return every circuit that is not plainly closed: state, failures, open_for_seconds."""

    def take_slots(self, name: str, wanted: int, limit: int, holder: str) -> list[str]:
        """Lease up to *wanted* of *limit* concurrency slots for 12 s; returns slot tokens."""

    def fair_share(self, name: str, limit: int, holder: str) -> int:
        """Return how many slots *holder* may keep: all of *limit* unless others wait for some."""

    def renew_slots(self, name: str, slots: Sequence[str]) -> list[str]:
        """Extend slots by 12 s; returns those still held."""

    def free_slots(self, name: str, slots: Sequence[str]) -> None:
        """Give slots back."""

    def take_tokens(self, name: str, wanted: int, per_second: float) -> tuple[int, float]:
        """Take from a shared token bucket; returns (tokens got, seconds until the next)."""

    def lock(self, name: str, holder: str, seconds: float) -> int | None:
        """Take or extend a lease; returns its fencing number (greater each take), None if held."""

    def unlock(self, name: str, holder: str) -> None:
        """Give a lease back if it is still this holder's."""

    def known_projects(self, project_ids: Sequence[str]) -> set[str]:
        """Return those whose row was committed from an answer within the fresh time."""

    def mark_known(self, project_ids: Iterable[str], seconds: float) -> None:
        """Say that these projects' rows are committed and fresh for *seconds*."""

    def beat(self, role: str, name: str, info: Mapping[str, str], seconds: float) -> None:
        """Announce a process (role, host:pid, health address ...) for *seconds*."""

    def processes(self) -> list[dict[str, str]]:
        """Return the announced processes."""

    def put_note(self, topic: str, name: str, text: str, seconds: float) -> None:
        """
        Keep a short text for whoever asks about *topic*, instead of an earlier one of that *name*.

        All notes of a topic go *seconds* after the last of them was put. For what is harmless to
        lose: without the store nothing is kept, and nothing is raised.
        """

    def drop_notes(self, topic: str, names: Iterable[str]) -> None:
        """Drop notes; those that are not there are none."""

    def notes(self, topic: str) -> dict[str, str]:
        """Return the notes of a topic by name; none when the store is away."""


# --- the ClaimX API --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """A parsed answer of the API and when it was asked for (microseconds UTC)."""

    data: Any
    asked_at: Micros


class ClaimXApi(Protocol):
    """
    The vendor's REST API (domain page, section 2), one method a call.

    Unwraps the documented wrappings (``data``, ``media`` ...), so *data* is the object or the list
    itself. Raises TokenRejected, Throttled, Unavailable, Unreadable, NotFound, Refused,
    CircuitOpen. Never logs a body.
    """

    async def project(self, project_id: str) -> Answer:
        """Return the project's object; Refused when it is another project's."""

    async def media(self, project_id: str, media_ids: Sequence[str] = ()) -> Answer:
        """
        Return the project's media items as a list of objects.

        With one to five ids the filter is sent; the answer may hold other items all the same,
        so match on ``mediaID``.
        """

    async def task_assignment(self, assignment_id: str) -> Answer:
        """Return the assignment's object."""

    async def video_report(self, project_id: str) -> Answer:
        """Return the project's video collaborations as a list (empty when there is none)."""


class EventApi(Protocol):
    """What a handler sees of the API: the calls above, counted for its event, and the freshness."""

    async def project(self, project_id: str) -> Answer:
        """Fetch the project, always."""

    async def project_unless_known(self, project_id: str) -> Answer | None:
        """Fetch the project unless it is fresh; None when it is (nothing to write)."""

    async def media(self, project_id: str, media_ids: Sequence[str] = ()) -> Answer:
        """Fetch media; see `ClaimXApi.media`."""

    async def task_assignment(self, assignment_id: str) -> Answer:
        """Fetch a task assignment."""

    async def video_report(self, project_id: str) -> Answer:
        """Fetch the video report."""


# --- media ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CachedFile:
    """
    A media file on a worker's own disk.

    *name* is relative to the cache, *node* the cache's identity (one a cache folder),
    *content_type* is by its bytes, *extension* without dot.
    """

    node: str
    name: str
    bytes: int
    sha256: str
    content_type: str
    extension: str
    downloaded_at: Micros


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A file in the cache; *media_id* is None when its name does not tell (a very long id)."""

    name: str
    media_id: str | None
    age_seconds: float


class MediaCache(Protocol):
    """The folder between a download and its upload, as the stages see it."""

    @property
    def node(self) -> str:
        """The cache's identity: what `CachedFile.node` and `Advance.affinity` name."""

    def path(self, name: str) -> Any:
        """Return where a cached file lies (path-like); raises ValueError for a foreign name."""

    def holds(self, name: str, length: int) -> bool:
        """Say whether the file is there, in full."""

    def remove(self, name: str) -> None:
        """Remove a cached file; one that is gone already is fine."""

    def entries(self, limit: int, older_than_seconds: float = 0.0) -> list[CacheEntry]:
        """Return up to *limit* files not touched for that long, the oldest first."""

    def sweep(self, older_than_seconds: float) -> int:
        """Remove files not touched for that long, half-written ones too; returns how many."""


class MediaFetcher(Protocol):
    """Downloads over HTTP into the cache, by the rules of the domain page, section 3."""

    async def fetch(self, item: MediaItem) -> CachedFile:
        """
        Download, check and cache one file; idempotent.

        Raises LinkExpired (ask for a new link), NotAllowed, NotFound, Throttled, Unavailable,
        Unreadable, DiskFull, CircuitOpen.
        """


class BlobStore(Protocol):
    """Where media end up: OneLake, or a folder."""

    def put(self, path: str, source: str, length: int, sha256: str, content_type: str) -> None:
        """
        Upload the local file *source* to *path* (relative to the media root), replacing it.

        Returns only when the stored length and hash are verified. Raises Unavailable, Throttled,
        Refused, TokenRejected, CircuitOpen, or FileNotFoundError when *source* is gone.
        """


# --- the lake ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Written:
    """What a flush did to one table; *refused* are changes it cannot take, with the reason."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    version: int = -1
    seconds: float = 0.0
    refused: tuple[tuple[Change, str], ...] = ()


class LakeAudit(Protocol):
    """
    What `claimx.services.reconcile` asks of the tables.

    Ranges are after < time <= until, by `claimx.domain.audit.time_column`; a row without such a
    time is in every range. Lists of ids are in order and begin behind *beyond*; fewer than *limit*
    means that there are no more. Memory is bounded by the arguments, whatever the tables hold. A
    table that is not there has no rows. Raises as `Lake.upsert` does.
    """

    def events(self, ids: Sequence[str], since: Micros, until: Micros) -> list[Values]:
        """
        Return the rows of ``claimx_events`` of these ids whose own time is in [since, until].

        Each has event_id, event_type, project_id, media_id, media_ids, task_assignment_id and
        ingested_at; an id that is doubled comes as often as it is there.
        """

    def other_events(
        self, known: Sequence[str], after: Micros, until: Micros, limit: int, beyond: str = ""
    ) -> list[str]:
        """Return ids of ``claimx_events`` rows in the range that are not among *known*."""

    def repeated(
        self, table: Table, after: Micros, until: Micros, limit: int, beyond: str = ""
    ) -> list[str]:
        """Return keys that more than one row in the range has: of events, media, attachments."""

    def media_in(self, table: Table, ids: Sequence[str]) -> set[str]:
        """Return those of the media ids that have a row in ``claimx_media`` or attachments."""

    def attachments_without_media(
        self, after: Micros, until: Micros, limit: int, beyond: str = ""
    ) -> list[Values]:
        """
        Return rows of ``claimx_attachments`` in the range that have none in ``claimx_media``.

        By their media ids; each has media_id, project_id, event_id and status.
        """


class Lake(Protocol):
    """The nine Delta tables."""

    @property
    def audit(self) -> LakeAudit:
        """What holds the tables against each other."""

    def ensure(self, table: Table) -> None:
        """Create the table with its declared schema if it is absent; callers may race."""

    def upsert(self, table: Table, changes: Sequence[Change], now: Micros) -> Written:
        """
        Apply *changes* by the rules of section 4: one row a key, newer wins, field by field.

        All or nothing for the changes that are not refused, in one commit; idempotent; exact under
        concurrent writers. Raises Unavailable or TokenRejected when the outcome is unknown or
        nothing was written: applying again is always right.
        """

    def known_events(self, ids: Sequence[str], since: Micros, until: Micros) -> set[str]:
        """Return those ids that ``claimx_events`` has among the days of [since, until]."""

    def recent_events(self, since: Micros, until: Micros, limit: int) -> list[str]:
        """Return up to *limit* event ids whose own time is in [since, until], newest first."""

    def unattached_media(
        self,
        limit: int,
        after: str = "",
        enriched_until: Micros | None = None,
        *,
        enriched_after: Micros | None = None,
        failed_too: bool = False,
    ) -> list[Values]:
        """
        Return rows of ``claimx_media`` that are downloadable and have no row in attachments.

        With *failed_too*, a row in attachments counts only if its file is completed. In the order
        of their media ids, only those behind *after*; fewer than *limit* means that there are no
        more. Rows whose data are younger than *enriched_until*, or not younger than
        *enriched_after*, are left out. Memory is bounded by *limit*, whatever the tables hold.
        Raises as `upsert` does.
        """

    def rows(self, table: Table) -> list[Values]:
        """Return the whole table (tests, demo); times as `Micros`."""


# --- the source -------------------------------------------------------------------------------

SourceRow: TypeAlias = dict[str, Any]
"""A row as Kusto gave it (JSON values), plus ``_ingestion_time`` as `Micros`."""


class EventSource(Protocol):
    """The Eventhouse table (domain page, section 1)."""

    def page(
        self, after: Micros, until: Micros, limit: int, exclude: Sequence[str] = ()
    ) -> list[SourceRow]:
        """
        Return rows with after < ingestion time <= until, oldest first, all or nothing.

        At least one whole ingestion time is returned if there is any: when *limit* would cut
        through rows of one time, all rows of that time are returned. Rows whose own id is in
        *exclude* are left out. Raises Unavailable, Throttled, Refused, TokenRejected, Unreadable.
        """

    def count(self, after: Micros, until: Micros) -> int:
        """Return how many rows have after < ingestion time <= until; raises as `page` does."""

    def nameless(self, after: Micros, until: Micros, limit: int) -> list[SourceRow]:
        """Return, as `page` does, the rows that have no id of their own."""

    def having(self, ids: Sequence[str]) -> list[SourceRow]:
        """
        Return all rows whose own id is exactly one of *ids*, whenever they were ingested.

        Takes up to 20,000 ids; costs a look through the whole table. Raises as `page` does.
        """

    def oldest(self, until: Micros) -> Micros | None:
        """Return the least ingestion time that the source still has, None for none <= *until*."""


# --- telemetry --------------------------------------------------------------------------------

Metric: TypeAlias = Literal[
    "processed",
    "failed",
    "retried",
    "dead",
    "admitted",
    "duplicates",
    "unhandled",
    "unconverted",
    "api_calls",
    "media_bytes",
    "poll_rows",
    "poll_lag_seconds",
    "stage_seconds",
    "flush_seconds",
    "flush_rows",
    "event_lag_seconds",
    "catch_up_seconds",
    "catch_up_rows",
    "depth",
    "redriven",
    "reconcile_missing",
    "reconcile_extra",
    "reconcile_doubled",
    "reconcile_until_seconds",
]


class Metrics(Protocol):
    """Measurements, declared once in `claimx.telemetry.metrics` with type, labels and meaning."""

    def add(self, name: Metric, value: float = 1, **labels: str) -> None:
        """Count up."""

    def observe(self, name: Metric, value: float, **labels: str) -> None:
        """Put a value into a histogram."""

    def set(self, name: Metric, value: float, **labels: str) -> None:
        """Set a gauge."""


class Hints(Protocol):
    """Sends Celery messages that name records; losing one costs seconds, never work."""

    def send(self, stage: Stage, ids: Sequence[str], affinity: str = "") -> None:
        """Send hints for *ids* in chunks; never raises (a lost hint is redriven)."""

    def backlog(self, stage: Stage, affinity: str = "") -> int:
        """Return how many messages wait in the stage's queue; 0 when unknown."""
