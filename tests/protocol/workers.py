"""Workers of the stages: what each holds as it knows it, and what a healthy one makes of it."""

from __future__ import annotations

from typing import Any

from ledger_rig import BROKEN

from claimx.domain.changes import Change, Enrichment, MediaItem, Source
from claimx.domain.codec import encode_changes
from claimx.domain.errors import Malformed
from claimx.domain.events import Event
from claimx.domain.ports.media import CachedFile
from claimx.domain.records import Advance, Buried, NewRecord, Outcome, Record, Stage
from claimx.domain.tables import MEDIA
from claimx.domain.times import from_seconds
from claimx.services.attachments import (
    COMPLETED,
    cached_of,
    cached_to_json,
    completed_row,
    failed_row,
    item_of,
)
from claimx.services.enrich import downloads, event_of, event_row
from protocol.world import LEASE_SECONDS, World

STAGES = (Stage.ENRICH, Stage.DOWNLOAD, Stage.UPLOAD, Stage.RECORD)


class Worker:
    """
    A process that claims and settles.

    What it holds it goes on holding after its leases ran out: nobody tells it.
    """

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self.name = name
        self.held: list[Record] = []

    def __repr__(self) -> str:
        return f"{self.name} holding {[(r.id, r.stage.value) for r in self.held]}"

    def take(self, stage: Stage, ids: tuple[str, ...]) -> list[Record]:
        """Do what a hint asks for; returns what it got."""
        found = self._world.ledger.claim(stage, ids, LEASE_SECONDS)
        self.held += found
        return found

    def settle(self, outcomes: list[Outcome], *, again: bool = False) -> None:
        """Settle; *again*: the answer was lost, and it will settle the same once more."""
        taken = self._world.ledger.settle(outcomes)
        if not again:
            gone = {id(outcome.record) for outcome in outcomes}
            self.held = [record for record in self.held if id(record) not in gone]
        for outcome, ours in zip(outcomes, taken, strict=True):
            if ours and isinstance(outcome, Advance | Buried):
                self._tell(outcome)

    def crash(self) -> None:
        """Forget everything, without a word."""
        self.held = []

    def _tell(self, outcome: Advance | Buried) -> None:
        queues = self._world.queues
        if isinstance(outcome, Advance) and outcome.stage is not Stage.WRITE:
            queues.send(outcome.stage, [outcome.record.id], outcome.affinity)
        for new in outcome.spawn:
            queues.send(new.stage, [new.id])


def forward(record: Record, now: float) -> Outcome:
    """What a healthy worker makes of a record."""
    data, at = dict(record.data), from_seconds(now)
    match record.stage:
        case Stage.ENRICH:
            return _enriched(record, at)
        case Stage.DOWNLOAD:
            data.pop("refresh", None)
            cached = CachedFile("n1", "f", 3, "ab", "image/jpeg", "jpg", at)
            data["cached"] = cached_to_json(cached)
            return Advance(record, Stage.UPLOAD, data, affinity="n1")
        case Stage.UPLOAD if cached_of(data) is None:
            return Advance(record, Stage.DOWNLOAD, data)
        case Stage.UPLOAD:
            return Advance(record, Stage.RECORD, data | {"blob_path": "b", "uploaded_at": at})
        case _:
            try:
                rows = encode_changes([completed_row(data)])
            except Malformed:  # requeued to here, and never uploaded
                return given_up(record, now)
            return Advance(record, Stage.WRITE, data | {"status": COMPLETED}, rows)


def given_up(record: Record, now: float, *, found: bool = False) -> Buried:
    """What a worker makes of one that cannot be helped; *found*: after part of the work."""
    if record.stage is Stage.ENRICH:
        event, at = event_of(record), from_seconds(now)
        rows, spawn = _media_of(record, event, at) if found else ([], ())
        return Buried(record, BROKEN, encode_changes(rows) if rows else b"", spawn)
    return Buried(record, BROKEN, encode_changes([failed_row(item_of(record.data), 0, BROKEN)]))


def _enriched(record: Record, at: int) -> Advance:
    event = event_of(record)
    handler = None if event.type == "SOMETHING_NEW" else "media"
    status = "enriched" if handler else "unhandled"
    rows, spawn = _media_of(record, event, at)
    row = event_row(event, handler=handler, api_calls=1, attempts=1, processed_at=at)
    data: dict[str, Any] = record.data | {"status": status, "event_time": event.time}
    return Advance(record, Stage.WRITE, data, encode_changes([*rows, row]), spawn)


def _media_of(record: Record, event: Event, at: int) -> tuple[list[Change], tuple[NewRecord, ...]]:
    found = Enrichment()
    for media_id in event.media_ids:
        item = MediaItem(media_id, "7", event.event_id, event.time, "https://h/x", "R.jpg")
        found.media.append(item)
        values = {"media_id": media_id, "project_id": "7", "downloadable": True}
        found.changes.append(
            Change(MEDIA.name, values, Source.ANSWER, event.event_id, event.time, at)
        )
    return found.changes, downloads(found, record)
