"""``claimx_media`` against ``claimx_attachments``, both ways."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from claimx.domain.audit import CLOCKS_APART_SECONDS
from claimx.domain.changes import Values
from claimx.domain.records import NewRecord, State, event_record_id, media_record_id
from claimx.domain.tables import ATTACHMENTS, MEDIA
from claimx.domain.times import Micros, from_seconds
from claimx.services.lease import outlast
from claimx.services.media_record import media_record
from claimx.services.reconcile.report import Finding, Found, ReconcileReport
from claimx.services.runtime import Runtime

ROWS_AT_A_TIME = 10_000
_CLOCKS_APART = from_seconds(CLOCKS_APART_SECONDS)


class Unattached:
    """
    Downloadable media that have neither an attachment row nor a record, until their event is met.

    A media file belongs to the range of the event that its row names, or that names it. They are
    collected first, and the walk over the source says which of them are in the range.
    """

    def __init__(
        self, runtime: Runtime, report: ReconcileReport, sleep: Callable[[float], None]
    ) -> None:
        self._runtime = runtime
        self._sleep = sleep
        self._report = report
        self._held: dict[str, Values] = {}
        self._by_event: dict[str, set[str]] = defaultdict(set)

    def collect(self, since: Micros, until: Micros) -> Iterator[Found]:
        """
        Look at all rows whose data are no older than *since*; for a range that ends at *until*.

        Nothing is asked for before its event is ingested, but by clocks that differ. Yields at once
        what there is no room to hold, by the time of its data.
        """
        after = ""
        while True:
            rows = self._runtime.lake.unattached_media(
                ROWS_AT_A_TIME, after, enriched_after=since - _CLOCKS_APART
            )
            for row in self._lost({str(row["media_id"]): row for row in rows}):
                if len(self._held) < self._runtime.limits.held_media:
                    self._held[row["media_id"]] = row
                    self._by_event[str(row["event_id"])].add(row["media_id"])
                elif since < (row["last_enriched_at"] or since + 1) <= until:
                    yield self._found(row, None)
            if len(rows) < ROWS_AT_A_TIME:
                return
            after = str(rows[-1]["media_id"])

    def belonging(
        self, events: Mapping[str, Micros], media: Mapping[str, Micros]
    ) -> Iterator[Found]:
        """Yield those of these events, and these that events name, each with the event's time."""
        named = dict(media)
        for event_id in events.keys() & self._by_event.keys():
            named |= dict.fromkeys(self._by_event.pop(event_id), events[event_id])
        for media_id in sorted(named.keys() & self._held.keys()):
            yield self._found(self._held.pop(media_id), named[media_id])

    def _lost(self, rows: dict[str, Values]) -> list[Values]:
        """
        Return those that no record stands for; the ledger counts the others.

        The lake is asked twice, around the ledger: what is finished in between has its row by then.
        """
        ids = [media_record_id(one) for one in rows]
        states = outlast(partial(self._runtime.ledger.states, ids), self._sleep)
        dead = sum(state is State.DEAD for state in states.values())
        self._report.media_dead += dead
        self._report.media_in_flight += len(states) - dead
        absent = [one for one in rows if media_record_id(one) not in states]
        attached = self._runtime.lake.audit.media_in(ATTACHMENTS, absent)
        return [rows[one] for one in absent if one not in attached]

    def _found(self, row: Values, at: Micros | None) -> Found:
        record: NewRecord | None = None
        if row["project_id"]:  # else nobody could be asked for its link
            record = media_record(row, self._runtime.new_trace())
        return Found(ATTACHMENTS.name, Finding.MISSING, row["media_id"], record, at)


def attachments_of_no_media(
    runtime: Runtime, after: Micros, until: Micros, sleep: Callable[[float], None]
) -> Iterator[Found]:
    """
    Yield attachment rows written in the range that have no media row.

    A media row comes with its event, and may come after the attachment's; so one whose event is
    still in the ledger is none.
    """
    beyond = ""
    while True:
        rows = runtime.lake.audit.attachments_without_media(after, until, ROWS_AT_A_TIME, beyond)
        events = [event_record_id(row["event_id"]) for row in rows if row["event_id"]]
        states = outlast(partial(runtime.ledger.states, events), sleep)
        lost = [r["media_id"] for r in rows if event_record_id(r["event_id"] or "") not in states]
        there = runtime.lake.audit.media_in(MEDIA, lost)
        for media_id in lost:
            if media_id not in there:
                yield Found(ATTACHMENTS.name, Finding.EXTRA, media_id)
        if len(rows) < ROWS_AT_A_TIME:
            return
        beyond = str(rows[-1]["media_id"])


def doubled_media(runtime: Runtime, after: Micros, until: Micros) -> Iterator[Found]:
    """Yield media ids that several rows of one of the two tables have, all written in the range."""
    for table in (MEDIA, ATTACHMENTS):
        beyond = ""
        ids: Sequence[str] = ("",)
        while ids:
            ids = runtime.lake.audit.repeated(table, after, until, ROWS_AT_A_TIME, beyond)
            yield from (Found(table.name, Finding.DOUBLED, one) for one in ids)
            beyond = ids[-1] if ids else beyond
