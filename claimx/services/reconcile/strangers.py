"""``claimx_events`` against the source: which rows are of no event that the source has."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from claimx.domain.audit import CLOCKS_APART_SECONDS
from claimx.domain.events import Event
from claimx.domain.polling import TIME
from claimx.domain.ports.source import SourceRow
from claimx.domain.tables import EVENTS
from claimx.domain.times import Micros, from_seconds
from claimx.services.reconcile.pieces import PAGE_ROWS, Piece
from claimx.services.reconcile.report import Finding, Found, ReconcileReport
from claimx.services.runtime import Runtime
from claimx.services.source_rows import read_source_row

MOST_HELD = 100_000  # ids, some 15 MB
MOST_ASKED = 20_000  # ids that the source is asked for by name
IDS_A_QUERY = 1000
MOST_PAGES = 200  # of rows without an id, read again for those that can only be hashed
_AT_A_LOOK = 10_000
_CLOCKS_APART = from_seconds(CLOCKS_APART_SECONDS)
_HASHED = re.compile(r"[0-9a-f]{64}")


class Strangers:
    """
    Rows of ``claimx_events`` that no source row has accounted for yet.

    An event's own time lies anywhere before its ingestion, so a row that the walk does not meet is
    no fault yet. It is only called extra when the source has been asked for its id, over all that
    it holds; when a row without an id could not have made it either; and when the source still
    goes back that far. Whatever cannot be made sure of so is counted, not named.
    """

    def __init__(self, runtime: Runtime, report: ReconcileReport) -> None:
        self._runtime = runtime
        self._report = report
        self._held: dict[str, Micros] = {}  # id -> a time that its own time is later than

    def meet(self, event_ids: Iterable[str]) -> None:
        """Note that the source has these."""
        for event_id in event_ids:
            self._held.pop(event_id, None)

    def look(self, piece: Piece) -> None:
        """Hold those with an own time in the piece's time that it does not have."""
        ids = list(piece.event_times)
        self.meet(ids)
        beyond = ""
        while True:
            found = self._runtime.lake.audit.other_events(
                ids, piece.after, piece.until, _AT_A_LOOK, beyond
            )
            room = max(0, MOST_HELD - len(self._held))
            self._held |= dict.fromkeys(found[:room], piece.after)
            self._report.unsure += max(0, len(found) - room)
            if len(found) < _AT_A_LOOK or not room:
                break
            beyond = found[-1]

    def left(self, until: Micros) -> Iterator[Found]:
        """Ask the source about those that are left; yields the ones that it has never had."""
        self._ask_by_id()
        self._hash_once_more()
        if not self._held:
            return
        oldest = self._runtime.source.oldest(until)
        for event_id, time in sorted(self._own_times(until).items()):
            # an event has a time of its own, no later than its ingestion
            if time is None or (oldest is not None and time >= oldest):
                yield Found(EVENTS.name, Finding.EXTRA, event_id, at=time)
            else:
                self._report.unsure += 1  # the source may have let go of it

    def _own_times(self, until: Micros) -> dict[str, Micros | None]:
        """Return those that are still there with their own times."""
        audit = self._runtime.lake.audit
        ids, since = list(self._held), min(self._held.values())
        rows = (
            row
            for at in range(0, len(ids), _AT_A_LOOK)
            for row in audit.events(ids[at : at + _AT_A_LOOK], since, until)
        )
        return {row["event_id"]: row["ingested_at"] for row in rows}

    def _ask_by_id(self) -> None:
        asked = list(self._held)[:MOST_ASKED]
        for at in range(0, len(asked), IDS_A_QUERY):
            rows = self._runtime.source.having(asked[at : at + IDS_A_QUERY])
            self.meet(_events(rows))
        self._leave(self._held.keys() - set(asked))

    def _hash_once_more(self) -> None:
        """Read the rows without an id that could have become one of those that look like a hash."""
        hashed = {one: after for one, after in self._held.items() if _HASHED.fullmatch(one)}
        if not hashed:
            return
        at = min(hashed.values()) - _CLOCKS_APART
        until = from_seconds(self._runtime.now())
        for _ in range(MOST_PAGES):
            rows = self._runtime.source.nameless(at, until, PAGE_ROWS)
            if not rows:
                return
            self.meet(_events(rows))
            at = int(rows[-1][TIME])
        self._leave(self._held.keys() & hashed.keys())

    def _leave(self, event_ids: Collection[str]) -> None:
        self._report.unsure += len(event_ids)
        self.meet(list(event_ids))


def _events(rows: Iterable[SourceRow]) -> list[str]:
    read = (read_source_row(row)[1] for row in rows)
    return [event.event_id for event in read if isinstance(event, Event)]
