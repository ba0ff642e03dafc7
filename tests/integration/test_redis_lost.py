"""Redis loses everything while media are on their way: real Redis, real tables, a real writer."""

from __future__ import annotations

import pytest

from claimx.adapters.gates import RedisGates
from claimx.adapters.lake import DeltaLake
from claimx.adapters.ledger import RedisLedger
from claimx.adapters.memory.hints import MemoryHints
from claimx.adapters.memory.source import MemorySource
from claimx.domain.changes import Change, MediaItem, Source
from claimx.domain.codec import encode_changes, media_to_json
from claimx.domain.ports.media import CachedFile
from claimx.domain.records import Advance, Kind, NewRecord, Stage, media_record_id
from claimx.domain.retry import RetryPolicy
from claimx.domain.tables import ATTACHMENTS, EVENTS, MEDIA, TABLES
from claimx.domain.times import from_seconds
from claimx.services.attachments import COMPLETED, cached_to_json, completed_row
from claimx.services.enrich import event_of, event_row
from claimx.services.ingest import ingest
from claimx.services.poll import poll_once
from claimx.services.recover import FIRST_PAUSE_SECONDS, Recovery, recover_media
from claimx.services.runtime import Limits, Runtime
from claimx.services.write import LakeWriter
from claimx.telemetry.metrics import RecordedMetrics

NOW = 1_790_000_000.0
MEDIA_IDS = ("done", "open1", "open2")


class Rig:
    """One machine with everything on it, whose Redis a test may empty."""

    def __init__(self, client, folder) -> None:
        self.clock = NOW
        self.client = client
        self.hints = MemoryHints()
        self.source = MemorySource(now=self.now)
        self.lake = DeltaLake({name: str(folder / name) for name in TABLES})
        self.ledger = RedisLedger(client, clock=self.now)
        self.gates = RedisGates(client)
        self.runtime = Runtime(
            ledger=self.ledger,
            gates=self.gates,
            hints=self.hints,
            metrics=RecordedMetrics(),
            retry=RetryPolicy(),
            limits=Limits(),
            now=self.now,
            jitter=lambda: 0.0,
            holder="test",
            make_lake=lambda: self.lake,
            make_source=lambda: self.source,
        )

    def now(self) -> float:
        return self.clock

    def admit(self) -> list[str]:
        """Poll and ingest; returns the events that were admitted."""
        poll_once(self.runtime)
        ingest(self.runtime, self.hints.taken(Stage.INGEST))
        return self.hints.taken(Stage.ENRICH)

    def enrich(self, ids) -> None:
        """Each event finds the same three media files."""
        at = from_seconds(self.clock)
        for record in self.ledger.claim(Stage.ENRICH, ids, 60):
            event = event_of(record)
            row = event_row(event, handler="media", api_calls=1, attempts=1, processed_at=at)
            values = {"project_id": "7", "file_name": "R.jpg", "downloadable": True}
            rows = [
                Change(MEDIA.name, {"media_id": one, **values}, Source.ANSWER, "e1", at, at)
                for one in MEDIA_IDS
            ]
            spawn = tuple(
                NewRecord(
                    media_record_id(one),
                    Kind.MEDIA,
                    Stage.DOWNLOAD,
                    media_to_json(MediaItem(one, "7", "e1", at, "https://h/x", "R.jpg")),
                    record.trace,
                    revive=True,
                )
                for one in MEDIA_IDS
            )
            rows.append(row)
            self.ledger.settle(
                [Advance(record, Stage.WRITE, record.data, encode_changes(rows), spawn)]
            )

    def fetch(self, *ids) -> list[str]:
        """Take media from DOWNLOAD to WRITE; returns those that were there to take."""
        at = from_seconds(self.clock)
        records = self.ledger.claim(Stage.DOWNLOAD, [*map(media_record_id, ids)], 60)
        for record in records:
            cached = CachedFile("n", "f", 3, "ab", "image/jpeg", "jpg", at)
            data = {**record.data, "cached": cached_to_json(cached), "blob_path": "b"}
            data |= {"uploaded_at": at, "status": COMPLETED}
            rows = encode_changes([completed_row(data)])
            self.ledger.settle([Advance(record, Stage.WRITE, data, rows)])
        return sorted(record.id for record in records)

    def write(self) -> None:
        writer = LakeWriter(
            self.ledger,
            self.lake,
            self.gates,
            self.runtime.metrics,
            self.now,
            sleep=lambda _: None,
            consumer="writer",
            batch_seconds=0.0,
        )
        writer.step()
        writer.close()

    def attachments(self) -> list[str]:
        return sorted(row["media_id"] for row in self.lake.rows(ATTACHMENTS))


@pytest.fixture
def rig(redis_client, tmp_path):
    made = Rig(redis_client, tmp_path)
    row = {"event_id": "e1", "event_type": "PROJECT_FILE_ADDED", "project_id": "7"}
    made.source.add([row], from_seconds(NOW - 60), NOW - 60)
    return made


def test_media_that_were_on_their_way_reach_the_lake_after_all(rig):
    rig.enrich(rig.admit())
    rig.fetch("done")
    rig.write()
    assert [row["event_id"] for row in rig.lake.rows(EVENTS)] == ["e1"]
    assert rig.attachments() == ["done"]

    rig.client.flushall()
    rig.clock += 1
    assert rig.admit() == []  # the lake has the event: nobody comes back to its media
    report = recover_media(rig.runtime)

    assert (report.ended, report.offered) == (Recovery.DONE, 2)
    assert rig.ledger.find("m:open1")[0].data["refresh"] is True
    assert rig.fetch(*MEDIA_IDS) == ["m:open1", "m:open2"]
    rig.write()
    assert rig.attachments() == sorted(MEDIA_IDS)

    rig.clock += FIRST_PAUSE_SECONDS
    assert recover_media(rig.runtime).offered == 0
    assert rig.ledger.census().missing(Kind.MEDIA) == 0


def test_an_event_that_was_not_finished_and_its_media_are_done_once(rig):
    """The rows of its media may be there already: both ways lead to one record."""
    rig.enrich(rig.admit())
    at = from_seconds(NOW)
    values = {"media_id": "open1", "project_id": "7", "downloadable": True}
    rig.lake.upsert(MEDIA, [Change(MEDIA.name, values, Source.ANSWER, "e1", at, at)], at)

    rig.client.flushall()
    events = rig.admit()
    recover_media(rig.runtime)
    rig.enrich(events)
    rig.fetch(*MEDIA_IDS)
    rig.write()
    rig.clock += FIRST_PAUSE_SECONDS
    recover_media(rig.runtime)

    assert rig.attachments() == sorted(MEDIA_IDS)
    assert rig.fetch(*MEDIA_IDS) == []
    assert rig.ledger.census().counters["media.admitted"] == 3
