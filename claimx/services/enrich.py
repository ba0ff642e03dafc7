"""
The stage ENRICH: an event becomes rows for the lake and media to download (domain page, section 1).

What a handler found and that the event is done are one step of the ledger. An event that is given
up on leaves what its tries had found, but no row of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from claimx.domain import times
from claimx.domain.changes import Change, Enrichment, Source, Values
from claimx.domain.codec import encode_changes, media_to_json
from claimx.domain.errors import ErrorCategory, Malformed, category_of
from claimx.domain.events import TEXTS, Event
from claimx.domain.ports.api import ClaimXApi
from claimx.domain.records import (
    Advance,
    Buried,
    Kind,
    NewRecord,
    Outcome,
    Record,
    Stage,
    media_record_id,
)
from claimx.domain.tables import EVENTS
from claimx.handlers.registry import handler_for
from claimx.services.calls import CountedApi, ProjectAnswers, ProjectChecks
from claimx.services.chunk import BOUND_SECONDS, Chunk, claim
from claimx.services.chunk_account import Counts
from claimx.services.found_before import FOUND, noted, with_earlier
from claimx.services.runtime import Runtime
from claimx.services.settle import outcome_of
from claimx.services.turns import events_at_once, in_turn

log = structlog.get_logger(__name__)

ENRICHED = "enriched"
UNHANDLED = "unhandled"

_API_CALLS = "api_calls"
_TRIES = "tries"  # runs that spent an attempt, of all rounds of the event
_NO_ATTEMPT = frozenset({ErrorCategory.AUTH, ErrorCategory.CIRCUIT_OPEN})


class EnrichStage:
    """Enrichment in one process; what it was told of projects serves its next chunks, too."""

    def __init__(self, runtime: Runtime, api: ClaimXApi) -> None:
        self._runtime = runtime
        self._api = api
        self._answers = ProjectAnswers(runtime.now, runtime.limits.project_fresh)

    async def run(
        self,
        ids: Sequence[str],
        *,
        bound_seconds: float = BOUND_SECONDS,
    ) -> Counts:
        """
        Enrich those of the events named by *ids* that are due here; safe to repeat.

        Raises Unavailable when the ledger does not answer; whatever was claimed then comes again
        when its lease ends. Cancelled, it settles what is done and gives the rest back.

        While as many media are in flight as may be at all, none is enriched: an event can lead to
        hundreds of files, and the poll's bound is on events. The redriver brings them back.
        """
        runtime = self._runtime
        if await asyncio.to_thread(_too_many_media, runtime):
            return Counts()
        records = await claim(runtime, Stage.ENRICH, ids)
        checks = ProjectChecks(self._api, runtime.gates, self._answers)
        enricher = _Enricher(runtime, self._api, checks)
        chunk = Chunk(
            runtime,
            Stage.ENRICH,
            enricher.enrich,
            concurrency=events_at_once(runtime.limits.api_concurrency),
            bound_seconds=bound_seconds,
            settled=enricher.count,
        )
        checks.preload(_projects_of(records))
        try:
            return await chunk.run(in_turn(records))
        finally:
            enricher.tell()


def _too_many_media(runtime: Runtime) -> bool:
    return runtime.ledger.active(Kind.MEDIA) >= runtime.limits.max_in_flight


@dataclass(frozen=True, slots=True)
class _ToCount:
    """What an event led to that is counted: its type, if nobody handles that, and lost values."""

    unhandled: str | None
    unconverted: Counter[tuple[str, str]]


class _Enricher:
    """What the events of one chunk share."""

    def __init__(self, runtime: Runtime, api: ClaimXApi, checks: ProjectChecks) -> None:
        self._runtime = runtime
        self._api = api
        self._checks = checks
        self._unhandled: Counter[str] = Counter()
        self._found: dict[str, _ToCount] = {}  # by record, until the ledger has its outcome

    def count(self, outcome: Outcome) -> None:
        """Count what a record led to, which is settled now: its work may be done once more."""
        found = self._found.pop(outcome.record.id, None)
        if found is None:
            return
        if found.unhandled is not None:
            self._unhandled[found.unhandled] += 1
        for (table, column), values in found.unconverted.items():
            self._runtime.metrics.add("unconverted", values, table=table, column=column)

    def tell(self) -> None:
        """Tell the types that nobody handles, once a chunk: a source may have millions of them."""
        for type_, events in self._unhandled.items():
            self._runtime.metrics.add("unhandled", events, type=type_)
            log.info("no handler", type=type_, events=events, stage=Stage.ENRICH.value)

    async def enrich(self, record: Record) -> Outcome:
        """Return what becomes of one event."""
        api = CountedApi(self._api, self._checks)
        found = Enrichment()
        try:
            event = event_of(record)
            handled = handler_for(event.type)
            handler = None
            if handled is not None:
                handler, handle = handled
                await handle(event, api, found)
            return self._finished(record, event, handler, found, api.calls)
        except Exception as error:  # noqa: BLE001 - judged by its category, UNKNOWN included
            return self._failed(record, error, found, api.calls)

    def _finished(
        self, record: Record, event: Event, handler: str | None, found: Enrichment, calls: int
    ) -> Advance:
        status = UNHANDLED if handler is None else ENRICHED
        total = _so_far(record, _API_CALLS) + calls
        row = event_row(
            event,
            handler=handler,
            api_calls=total,
            attempts=_so_far(record, _TRIES) + 1,
            processed_at=times.from_seconds(self._runtime.now()),
        )
        data = {**record.data, _API_CALLS: total, "status": status, "event_time": event.time}
        data.pop(FOUND, None)
        outcome = Advance(
            record,
            Stage.WRITE,
            data,
            rows=encode_changes([*found.changes, row]),
            spawn=downloads(found, record),
        )
        if handler is None or found.unconverted:
            unhandled = event.type if handler is None else None
            self._found[record.id] = _ToCount(unhandled, found.unconverted)
        return outcome

    def _failed(self, record: Record, error: Exception, found: Enrichment, calls: int) -> Outcome:
        spent = category_of(error) not in _NO_ATTEMPT  # waiting is no try
        data = {
            **record.data,
            _API_CALLS: _so_far(record, _API_CALLS) + calls,
            _TRIES: _so_far(record, _TRIES) + spent,
        }
        data.pop(FOUND, None)
        outcome = outcome_of(record, error, self._runtime, data=data)
        if isinstance(outcome, Buried):
            self._found[record.id] = _ToCount(None, found.unconverted)
        try:
            found = with_earlier(record.data, found)
            if not isinstance(outcome, Buried):
                return replace(outcome, data=data | noted(found))
            rows = encode_changes(found.changes) if found.changes else b""
            return replace(outcome, rows=rows, spawn=downloads(found, record))
        except Exception as broken:  # noqa: BLE001 - what cannot be kept must not keep it alive
            log.warning("partial rows dropped", trace=record.trace, error=type(broken).__name__)
            return outcome


def event_of(record: Record) -> Event:
    """Return the record's event; raises Malformed when its data is none."""
    try:
        return Event.from_json(record.data)  # what this stage adds has other names
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Malformed(f"the record holds no event ({type(error).__name__})") from None


def event_row(
    event: Event, *, handler: str | None, api_calls: int, attempts: int, processed_at: times.Micros
) -> Change:
    """Return the event's own row, which says that it was finished."""
    values: Values = {
        "event_id": event.event_id,
        "event_type": event.type,
        "ingested_at": event.time,
        "event_date": times.day_of(event.time),
        "status": UNHANDLED if handler is None else ENRICHED,
        "api_calls": api_calls,
        "attempts": attempts,
        "processed_at": processed_at,
    }
    for name in TEXTS:  # a row has nulls for what nobody said: most events lack most of it
        said = getattr(event, name)
        if said is not None:
            values[name] = said
    if event.media_ids:
        values["media_ids"] = json.dumps(event.media_ids)
    if handler is not None:
        values["handler"] = handler
    return Change(EVENTS.name, values, Source.RESULT, event.event_id, event.time)


def downloads(found: Enrichment, record: Record) -> tuple[NewRecord, ...]:
    """Return a record for each media file found; a file that is named twice is fetched once."""
    if not found.media:
        return ()
    items = {item.media_id: item for item in found.media}
    return tuple(
        NewRecord(
            id=media_record_id(item.media_id),
            kind=Kind.MEDIA,
            stage=Stage.DOWNLOAD,
            data=media_to_json(item),
            trace=record.trace,
            revive=True,
        )
        for item in items.values()
    )


def _so_far(record: Record, name: str) -> int:
    """Return what earlier runs counted under *name*."""
    before: Any = record.data.get(name, 0)
    return before if isinstance(before, int) else 0


def _projects_of(records: Iterable[Record]) -> list[str]:
    ids = (record.data.get("project_id") for record in records)
    return [project_id for project_id in ids if isinstance(project_id, str)]
