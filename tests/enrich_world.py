"""Enrichment on a ledger and an API in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from claimx.adapters.memory.claimx_api import MemoryClaimXApi
from claimx.adapters.memory.gates import MemoryGates
from claimx.adapters.memory.hints import MemoryHints
from claimx.adapters.memory.ledger import MemoryLedger
from claimx.domain.changes import Change
from claimx.domain.codec import decode_changes
from claimx.domain.events import Event, EventType
from claimx.domain.records import (
    Kind,
    NewRecord,
    Stage,
    State,
    event_record_id,
    page_record_id,
)
from claimx.domain.retry import RetryPolicy
from claimx.domain.shape import shape_of
from claimx.domain.tables import EVENTS
from claimx.services.chunk_account import Counts
from claimx.services.enrich import EnrichStage
from claimx.services.runtime import Limits, Runtime
from claimx.telemetry.metrics import RecordedMetrics

TIME = 1_700_000_000_000_000


class World:
    """One process with everything in memory, on a clock of its own."""

    def __init__(self, **limits: float) -> None:
        self.time = TIME / 1e6
        self.ledger = MemoryLedger(self.now)
        self.gates = MemoryGates(self.now)
        self.api = MemoryClaimXApi(self.now)
        self.hints = MemoryHints()
        self.metrics = RecordedMetrics()
        self.runtime = Runtime(
            ledger=self.ledger,
            gates=self.gates,
            hints=self.hints,
            metrics=self.metrics,
            retry=RetryPolicy(),
            limits=Limits(**limits),
            now=self.now,
            jitter=lambda: 0.0,
            holder="test",
            make_lake=lambda: pytest.fail("no lake here"),
            make_source=lambda: pytest.fail("no source here"),
        )

    def now(self) -> float:
        return self.time

    def admit(self, *events: Event) -> list[str]:
        page_id = page_record_id(events[0].event_id)
        page = NewRecord(page_id, Kind.PAGE, Stage.INGEST, {"rows": []}, "trace")
        checkpoint = self.ledger.checkpoint("live")
        moved = (checkpoint.source_time if checkpoint else 0) + 1
        assert self.ledger.store_page("live", checkpoint, moved, [page])
        (claimed,) = self.ledger.claim(Stage.INGEST, [page_id], 30)
        new = [
            NewRecord(
                event_record_id(event.event_id),
                Kind.EVENT,
                Stage.ENRICH,
                event.to_json(),
                f"trace-{event.event_id}",
            )
            for event in events
        ]
        admitted = self.ledger.admit(claimed, new, [], 3600)
        assert admitted is not None
        return list(admitted.ids)

    def enrich(self, ids: list[str], **given: Any) -> Counts:
        return asyncio.run(EnrichStage(self.runtime, self.api).run(ids, **given))

    def written(self, *ids: str) -> list[Change]:
        records = self.ledger.claim(Stage.WRITE, ids, 30)
        return [change for record in records for change in decode_changes(record.rows)]

    def state(self, record_id: str) -> tuple[Stage, State]:
        found = self.ledger.find(record_id)
        assert found is not None
        return found[0].stage, found[0].state

    def data(self, record_id: str) -> dict[str, Any]:
        found = self.ledger.find(record_id)
        assert found is not None
        return found[0].data


def event(event_id: str, kind: str = EventType.PROJECT_CREATED, **given: Any) -> Event:
    given.setdefault("project_id", "7")
    return Event(event_id=event_id, type=str(kind), time=TIME, source_time=TIME, **given)


def project(project_id: str = "7") -> dict[str, Any]:
    return {"project": {"projectId": int(project_id), "projectNumber": f"N{project_id}"}}


def media(media_id: int) -> dict[str, Any]:
    link = f"https://claimxperience.s3.amazonaws.com/{media_id}.jpg?X-Amz-Signature=s"
    return {"mediaID": media_id, "mediaName": f"{media_id}.jpg", "fullDownloadLink": link}


def event_row_of(changes: list[Change], event_id: str) -> dict[str, Any]:
    """Return the row that the lake makes of it, but for the bookkeeping."""
    (row,) = [
        shape_of(EVENTS).blank | change.values
        for change in changes
        if change.table == "claimx_events" and change.event_id == event_id
    ]
    return row


def a_world() -> World:
    """Return a world whose API has 59 projects, and two media files of one."""
    made = World()
    made.api.projects = {str(n): project(str(n)) for n in range(1, 60)}
    made.api.media_items["7"] = [media(1), media(2)]
    return made
