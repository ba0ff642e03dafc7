"""What a reconcile found: each finding with its id, and the counts of all that is as it should."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from claimx.domain.errors import ErrorCategory
from claimx.domain.records import Kind, NewRecord
from claimx.domain.tables import ATTACHMENTS, EVENTS, MEDIA
from claimx.domain.times import Micros, to_iso

FIRST_IDS = 1000  # of each finding that the report itself keeps
MOST_KNOWN = 100_000  # findings remembered, so that each is told once; some 20 MB

TABLES = (EVENTS.name, MEDIA.name, ATTACHMENTS.name)


class Finding(StrEnum):
    """What can be wrong with a row."""

    MISSING = "missing"
    EXTRA = "extra"
    DOUBLED = "doubled"


class Ending(StrEnum):
    """Why a reconcile ended; all but `COMPLETE` leave a part of the range unseen or unmended."""

    COMPLETE = "complete"
    NOTHING = "nothing of the range has been polled yet"
    TIME = "out of time"
    PRESSURE = "the work in flight did not become less"
    BUSY = "another process is mending"
    SUPERSEDED = "another process took the mending over"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Found:
    """
    A finding; *record* is what brings a missing row back, None when nothing can.

    A look at the ingestion time *at* alone would make it, too; None: nobody knows where it lies.
    """

    table: str
    finding: Finding
    id: str
    record: NewRecord | None = None
    at: Micros | None = None


Told: TypeAlias = Callable[[Found, bool], None]
"""Is given each finding as it is made, and whether it was admitted."""


@dataclass(slots=True)
class ReconcileReport:
    """
    What was looked at and what was found.

    *since* and *until* bound the ingestion times that were judged, *reached* is how far the walk
    has come. Of the *events* read, *finished* ones have their row, *in_flight* and *dead* ones
    their record; *unread* ones are still the poller's to take in, *early* ones from before the
    pipeline's time. *media_in_flight* and *media_dead* have no attachment row yet, and need none.
    *unsure* rows could not be judged.
    """

    since: Micros
    until: Micros
    reached: Micros
    ending: Ending = Ending.COMPLETE
    rows: int = 0
    events: int = 0
    finished: int = 0
    in_flight: int = 0
    dead: int = 0
    unread: int = 0
    early: int = 0
    media_in_flight: int = 0
    media_dead: int = 0
    unsure: int = 0
    error: str = ""
    category: ErrorCategory | None = None
    counts: Counter[tuple[str, Finding]] = field(default_factory=Counter)
    mended: Counter[tuple[str, Finding]] = field(default_factory=Counter)
    admitted: Counter[Kind] = field(default_factory=Counter)
    _places: list[Micros] = field(default_factory=list)  # of what is left: its begin and its end
    _first: dict[tuple[str, Finding], list[str]] = field(default_factory=dict)
    _left: dict[tuple[str, Finding], list[str]] = field(default_factory=dict)
    _known: set[tuple[str, Finding, str]] = field(default_factory=set)

    def is_news(self, found: Found) -> bool:
        """Say whether a finding is met for the first time: rows of one event may lie far apart."""
        key = (found.table, found.finding, found.id)
        if key in self._known:
            return False
        if len(self._known) < MOST_KNOWN:
            self._known.add(key)
        return True

    def add(self, found: Found, *, admitted: bool) -> None:
        """Count a finding."""
        key = (found.table, found.finding)
        self.counts[key] += 1
        self.mended[key] += admitted
        for kept in (self._first,) if admitted else (self._first, self._left):
            ids = kept.setdefault(key, [])
            if len(ids) < FIRST_IDS:
                ids.append(found.id)
        if not admitted:
            its = [self.since, self.until] if found.at is None else [found.at]
            places = [*self._places, *its]
            self._places = [min(places), max(places)]

    @property
    def stretch(self) -> tuple[Micros, Micros]:
        """Return the ingestion times between which all lies that is left as it was found."""
        if not self._places:
            return self.since, self.until
        # extra rows may lie somewhat before it; and it may have ended before it was to
        begin, end = (max(self.since, min(one, self.until)) for one in self._places)
        return begin, end

    @property
    def off(self) -> int:
        """How many findings are left as they were found."""
        return sum(self.counts.values()) - sum(self.mended.values())

    def ids(self, table: str, finding: Finding) -> list[str]:
        """Return the first ids of a finding."""
        return self._first.get((table, finding), [])

    def ids_left(self, table: str, finding: Finding) -> list[str]:
        """Return the first ids of those that are left as they were found."""
        return self._left.get((table, finding), [])

    def findings(self) -> Iterable[tuple[str, Finding]]:
        """Return what was found, in the order of the tables."""
        return [(t, f) for t in TABLES for f in Finding if self.counts[t, f]]

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON, with the first ids of each finding."""
        plain = ("rows", "events", "finished", "in_flight", "dead", "unread", "early")
        return {
            "since": to_iso(self.since),
            "until": to_iso(self.until),
            "reached": to_iso(self.reached),
            "ending": self.ending.value,
            **{name: getattr(self, name) for name in plain},
            "media_in_flight": self.media_in_flight,
            "media_dead": self.media_dead,
            "unsure": self.unsure,
            "error": self.error,
            "admitted": {kind.value: count for kind, count in self.admitted.items()},
            "findings": [
                {
                    "table": table,
                    "finding": finding.value,
                    "count": self.counts[table, finding],
                    "admitted": self.mended[table, finding],
                    "ids": self.ids(table, finding),
                }
                for table, finding in self.findings()
            ],
        }
