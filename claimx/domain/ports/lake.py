"""The nine tables of the lake."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from claimx.domain.changes import Change, Values
from claimx.domain.columns import Table
from claimx.domain.times import Micros


@dataclass(frozen=True, slots=True)
class Written:
    """
    What a flush did to one table.

    *logged* changes are in the lake, beside a large table, and become its rows later; *refused* are
    changes that it cannot take, with the reason.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    logged: int = 0
    version: int = -1
    seconds: float = 0.0
    refused: tuple[tuple[Change, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Backlog:
    """Changes that wait beside a large table, since when, and how many rows it holds."""

    changes: int = 0
    oldest: Micros | None = None
    rows: int = 0


@dataclass(slots=True)
class Folded:
    """
    What a fold did to a large table; *ended* says that all that waited at its begin is in it.

    *pieces* were rewritten, *laid_out* were too large for that and were cut into smaller ones.
    """

    changes: int = 0
    inserted: int = 0
    updated: int = 0
    pieces: int = 0
    laid_out: int = 0
    ended: bool = False


class LargeTables(Protocol):
    """Tables too large for flushes to write them anew: what is said goes by way of a log."""

    def backlog(self, table: Table) -> Backlog:
        """Return what waits; costs no read of data. Raises as `Lake.upsert` does."""

    def fold(self, table: Table, go_on: Callable[[], bool]) -> Folded:
        """
        Bring what waits into the table, as long as *go_on* says so: it is asked again and again.

        Raises as `Lake.upsert` does; whatever is not in the table then waits on. For one process
        at a time, which a lease must see to: two at once waste work, and break nothing.
        """


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

    @property
    def large(self) -> LargeTables:
        """The tables that are too large to be changed by each flush."""

    def ensure(self, table: Table) -> None:
        """Create the table with its declared schema if it is absent; callers may race."""

    def upsert(self, table: Table, changes: Sequence[Change], now: Micros) -> Written:
        """
        Apply *changes* by the rules of section 4: one row a key, newer wins, field by field.

        All or nothing for the changes that are not refused, in one commit; idempotent; exact under
        concurrent writers. A value that does not fit need not be seen where a newer change stands
        above it. Raises Unavailable or TokenRejected when the outcome is unknown or
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
