"""What the pipeline needs of the ledger: records and their states, cursors, the lake stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from claimx.domain.cursors import Checkpoint, Gap, Mark
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
        left_out: Sequence[str] = (),
    ) -> Checkpoint | None:
        """
        Store page records (stage INGEST) and move the checkpoint, in one step.

        Compare-and-set on the checkpoint, its version and its time: returns the new checkpoint, or
        None (and stores nothing) when *expected* is no longer current, or when a greater *fence*
        has already stored for this cursor. A checkpoint never moves backwards. Other cursors are
        moved to *marks* in the same step: what must be known wherever this checkpoint is. A cursor
        is forgotten when it has not moved for `cursors.kept_seconds`.

        *left_out* are the ids that the caller left out because `seen` named them. None, too, when
        one of them is not remembered: an older copy, whose checkpoint may be the very same, was put
        back since, or its time is over. The page must be read again.
        """

    def note_read(
        self, cursor: str, at: Checkpoint, text: str, left_out: Sequence[str] = ()
    ) -> bool:
        """
        Keep *text* with the cursor while its checkpoint is *at*; False when it is no longer.

        False, too, when one of *left_out* is not remembered; see `store_page`.
        """

    def noted_read(self, cursor: str) -> tuple[Checkpoint | None, str | None]:
        """
        Return the checkpoint and what was noted last, there or at an earlier one, in one step.

        Read one after the other, the note could be of a later checkpoint. Once a copy with the
        earlier one is put back, `store_page` and `note_read` would believe whoever read so.
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

        For what is neither in the ledger nor in the lake. A record that is there, dead or active,
        is left alone and counted as a duplicate. An event is remembered anew, a media file no
        longer counts as completed. Returns the ids admitted, in order, and the same when told the
        same records and traces again, as no answer came; None when a greater *fence* was here.
        """

    # stages
    def claim(self, stage: Stage, ids: Sequence[str], lease_seconds: float) -> list[Record]:
        """
        Lease those of *ids* that are in *stage*, due, and not leased; the rest is left out.

        A record found with a lease that ran out (its worker died) is leased anew; after
        10 such losses in one stage it is buried as UNKNOWN ("lost by its workers") instead.
        What is due, or leased, further ahead than `retry.LONGEST_DELAY_SECONDS` is due, and its
        lease over, here and in `due`: the clock was set back.
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

        Also takes over those of silent consumers. `claim` sorts out doubles and stale ones.
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
        """Return dead letters, the newest first; none that died after the call began."""

    def requeue(self, ids: Sequence[str], stage: Stage | None = None) -> int:
        """
        Send dead records back to the stage they died in (or *stage*), due now; returns how many.

        Media go back to DOWNLOAD with a fresh link asked for; attempts and refreshes start anew.
        Of two callers one counts a record. Rows not yet written go. `domain.requeueing` has rules.
        """

    def find(self, record_id: str) -> tuple[Record, tuple[dict[str, Any], ...]] | None:
        """Return any record in any state with its history (newest last), or None."""

    def census(self, *, ages: bool = True) -> Census:
        """Count everything; bounded, may cost some milliseconds, far less without *ages*."""
