"""The source against ``claimx_events``: which events have neither a row nor a record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from claimx.domain.changes import Values
from claimx.domain.events import Event, EventType
from claimx.domain.polling import spans
from claimx.domain.records import Kind, NewRecord, Stage, State, event_record_id
from claimx.domain.tables import EVENTS, MEDIA
from claimx.domain.times import EARLIEST, LATEST, Micros
from claimx.services.first_poll import START
from claimx.services.lease import outlast
from claimx.services.reconcile.pieces import Piece, Row
from claimx.services.reconcile.report import Finding, Found, ReconcileReport
from claimx.services.runtime import Runtime

log = structlog.get_logger(__name__)

MOST_PAGES = 1000  # of more the census may miss the oldest
PAGES_SECONDS = 60.0  # for pages that wait at ingest while some events are looked for
_LOOK_SECONDS = 0.5
_WIDE = 2 * 86_400_000_000  # the lake writer looks for an id so many days around its time, too
_FETCHES_NAMED = frozenset({EventType.PROJECT_FILE_ADDED, EventType.CUSTOM_TASK_COMPLETED})


class EventCheck:
    """
    Holds pieces of the source against ledger and lake.

    A healthy pipeline gives no false alarm, however busy it is: the ledger is asked before the
    lake, so an event that is finished in between is found in one of them; and what is found in
    neither is looked for once more when every page that was there has been ingested.

    Missing is what the lake writer would insert: it looks for an id among the same days. What is
    later than *left_behind*, and was never seen, the live poll reads once more. With *lenient*,
    events from before the pipeline's first poll count only behind one that it knows.
    """

    def __init__(
        self,
        runtime: Runtime,
        report: ReconcileReport,
        left_behind: Micros,
        *,
        sleep: Callable[[float], None],
        lenient: bool = False,
    ) -> None:
        self._runtime = runtime
        self._report = report
        self._sleep = sleep
        self._left_behind = left_behind
        begin = partial(runtime.ledger.checkpoint, START)
        origin = outlast(begin, sleep) if lenient else None
        self._begin: Micros = origin.source_time if origin else 0
        self._pages_stay = False

    def judge(self, piece: Piece) -> tuple[list[Found], dict[str, list[Values]]]:
        """Return what is wrong with a piece's events, and the rows of those that are finished."""
        report = self._report
        states = self._states(list(piece.rows))
        absent = {one: row for one, row in piece.rows.items() if one not in states}
        finished = self._rows_of(absent)
        doubtful = {one: row for one, row in absent.items() if one not in finished}
        known = (row.at for one, row in piece.rows.items() if one not in doubtful)
        self._begin = min(self._begin, min(known, default=self._begin))
        report.rows += piece.read
        report.events += len(piece.rows)
        report.finished += len(finished)
        self._count(states)
        found = list(self._second_look(doubtful)) if doubtful else []
        found += [
            Found(EVENTS.name, Finding.DOUBLED, rows[0]["event_id"], at=piece.rows[one].at)
            for one, rows in finished.items()
            if len(rows) > 1
        ]
        found += self._without_media(piece, finished)
        return found, finished

    def _second_look(self, doubtful: Mapping[str, Row]) -> Iterator[Found]:
        """Yield those that are lost for certain; counts what the others turn out to be."""
        report = self._report
        if not self._pages_are_in():
            report.unread += len(doubtful)
            return
        ids = list(doubtful)
        # in this order: what was seen by now has, or had, a record by then
        seen = outlast(partial(self._runtime.ledger.seen, ids), self._sleep)
        states = self._states(ids)
        self._count(states)
        absent = {one: row for one, row in doubtful.items() if one not in states}
        finished = self._rows_of(absent)
        report.finished += len(finished)
        for one, row in absent.items():
            if one in finished:
                continue
            if row.at < self._begin:
                report.early += 1
            elif one not in seen and row.at > self._left_behind:
                report.unread += 1  # the live poll has yet to read it, or reads it once more
            else:
                yield _missing(one, row, self._runtime.new_trace())

    def _rows_of(self, rows: Mapping[str, Row]) -> dict[str, list[Values]]:
        """Return the lake's rows by record id; of one found on another day only that it is."""
        lake = self._runtime.lake
        events = [row.event for row in rows.values() if row.event is not None]
        found: dict[str, list[Values]] = {}
        for since, until in spans(event.time for event in events):
            ids = [event.event_id for event in events if since <= event.time <= until]
            for row in lake.audit.events(ids, since, until):
                found.setdefault(event_record_id(row["event_id"]), []).append(row)
        others = [event for event in events if event_record_id(event.event_id) not in found]
        for since, until in spans(event.time for event in others):
            ids = [event.event_id for event in others if since <= event.time <= until]
            # an own time may be any that a calendar has
            around = max(EARLIEST, since - _WIDE), min(LATEST, until + _WIDE)
            known = lake.known_events(ids, *around)
            found |= {event_record_id(one): [] for one in known}
        return found

    def _pages_are_in(self) -> bool:
        """Wait until every page that is there now is ingested; False when that takes too long."""
        runtime = self._runtime
        begun = runtime.now()
        while not self._pages_stay:
            census = outlast(runtime.ledger.census, self._sleep)
            passed, pages = runtime.now() - begun, census.active.get(Kind.PAGE, 0)
            oldest = census.oldest_seconds[Stage.INGEST]
            if not pages or (pages <= MOST_PAGES and oldest < passed):
                return True
            if passed >= PAGES_SECONDS:
                log.warning("pages wait at ingest: what they may hold cannot be judged")
                self._pages_stay = True
            self._sleep(_LOOK_SECONDS)
        return False

    def _without_media(self, piece: Piece, finished: Mapping[str, list[Values]]) -> Iterator[Found]:
        """
        Yield media that finished events name and that ``claimx_media`` has no row of.

        An event is finished only when the API knew all of them, and its row comes last.
        """
        naming = {
            media_id: (row, piece.rows[one].at)
            for one, rows in finished.items()
            for row in rows[:1]
            for media_id in named_media(row)
        }
        for media_id in sorted(
            naming.keys() - self._runtime.lake.audit.media_in(MEDIA, list(naming))
        ):
            row, at = naming[media_id]
            event = event_of_row(row)
            record = NewRecord(
                event_record_id(event.event_id),
                Kind.EVENT,
                Stage.ENRICH,
                event.to_json(),
                self._runtime.new_trace(),
            )
            yield Found(MEDIA.name, Finding.MISSING, media_id, record, at)

    def _states(self, ids: Sequence[str]) -> dict[str, State]:
        return outlast(partial(self._runtime.ledger.states, ids), self._sleep)

    def _count(self, states: Mapping[str, State]) -> None:
        dead = sum(state is State.DEAD for state in states.values())
        self._report.dead += dead
        self._report.in_flight += len(states) - dead


def named_media(row: Values) -> list[str]:
    """Return the media ids of a finished event's row, if its handler fetched just those."""
    if row["event_type"] not in _FETCHES_NAMED:
        return []
    return list(dict.fromkeys([*_ids(row["media_ids"]), *filter(None, [row["media_id"]])]))


def event_of_row(row: Values) -> Event:
    """Return the event that a row of ``claimx_events`` was made of; its raw columns are gone."""
    return Event(
        event_id=row["event_id"],
        type=row["event_type"],
        project_id=row["project_id"],
        time=row["ingested_at"] or 0,
        source_time=row["ingested_at"] or 0,
        media_id=row["media_id"],
        media_ids=tuple(_ids(row["media_ids"])),
        task_assignment_id=row["task_assignment_id"],
    )


def _ids(text: Any) -> list[str]:
    """Return the ids of ``media_ids``; a text that others wrote may be anything."""
    try:
        found = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return []
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def _missing(record_id: str, row: Row, trace: str) -> Found:
    if row.event is not None:
        record = NewRecord(record_id, Kind.EVENT, Stage.ENRICH, row.event.to_json(), trace)
        return Found(EVENTS.name, Finding.MISSING, row.event.event_id, record, row.at)
    # ingest parses it once more, and so it is among the dead letters again
    record = NewRecord(record_id, Kind.EVENT, Stage.INGEST, row.plain or {}, trace)
    name = record_id.removeprefix(event_record_id(""))
    return Found(EVENTS.name, Finding.MISSING, name, record, row.at)
