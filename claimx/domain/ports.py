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
    NewRecord,
    Outcome,
    Record,
    Stage,
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

        Each is then not returned again for some seconds, whatever becomes of the hint.
        WRITE records that are due are put back on the lake stream here and not returned.
        """

    def active_media(self, ids: Sequence[str]) -> set[str]:
        """
        Return those of the media record ids that are active: there, and no dead letters.

        A handful of round trips for thousands of ids. What is missing is finished (its attachment
        row is committed), dead, or was never admitted.
        """

    def active(self) -> int:
        """Return how many event and media records are active (for back-pressure); O(1)."""

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

    def census(self) -> Census:
        """Count everything; bounded, may cost some milliseconds."""


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
        """Lease up to *wanted* of *limit* concurrency slots for 60 s; returns slot tokens."""

    def fair_share(self, name: str, limit: int, holder: str) -> int:
        """Return how many slots *holder* may keep: all of *limit* unless others wait for some."""

    def renew_slots(self, name: str, slots: Sequence[str]) -> list[str]:
        """Extend slots by 60 s; returns those still held."""

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


class Lake(Protocol):
    """The nine Delta tables."""

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
        self, limit: int, after: str = "", enriched_until: Micros | None = None
    ) -> list[Values]:
        """
        Return rows of ``claimx_media`` that are downloadable and have no row in attachments.

        In the order of their media ids, only those behind *after*; fewer than *limit* means that
        there are no more. With *enriched_until*, rows whose data are younger are left out. Memory
        is bounded by *limit*, whatever the tables hold. Raises as `upsert` does.
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
    "depth",
    "redriven",
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
