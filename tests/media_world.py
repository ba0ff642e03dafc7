"""The stages of media files in memory, their cache on a disk."""

import asyncio
from typing import Any
from urllib.parse import urlencode

from claimx.adapters.cache import DiskCache
from claimx.adapters.memory.claimx_api import MemoryClaimXApi
from claimx.adapters.memory.gates import MemoryGates
from claimx.adapters.memory.hints import MemoryHints
from claimx.adapters.memory.media import MemoryBlobStore, MemoryMediaFetcher
from claimx.domain.changes import MediaItem
from claimx.domain.codec import decode_changes, media_to_json
from claimx.domain.media import Rules
from claimx.domain.records import Advance, Kind, Record, Stage
from claimx.domain.refusal import refusal
from claimx.domain.retry import RetryPolicy
from claimx.domain.tables import ATTACHMENTS
from claimx.services.download import DownloadStage
from claimx.services.record import RecordStage
from claimx.services.runtime import Limits, Runtime
from claimx.services.upload import UploadStage
from claimx.settings import DEFAULT_EXTENSIONS
from claimx.telemetry.metrics import RecordedMetrics

JPEG = b"\xff\xd8\xff\xe0 photo"

NOW = 1_790_000_000.0


def link(number=0, *, lifetime=3600, signed_at=NOW):
    query = {"systemDate": int(signed_at * 1000), "expires": lifetime * 1000, "sign": f"s{number}"}
    return f"https://www.claimxperience.com/media/99?{urlencode(query)}"


class World:
    """A process with its cache, API, media host and store, on a clock that a test moves."""

    def __init__(self, folder):
        self.now = NOW
        self.cache = DiskCache(folder / "cache", 1 << 20, spare_bytes=0, now=lambda: self.now)
        self.api = MemoryClaimXApi(lambda: self.now)
        self.store = MemoryBlobStore()
        self.runtime = Runtime(
            ledger=None,  # type: ignore[arg-type]  # these tests decide about single records
            gates=MemoryGates(lambda: self.now),
            hints=MemoryHints(),
            metrics=RecordedMetrics(),
            retry=RetryPolicy(),
            limits=Limits(),
            now=lambda: self.now,
            jitter=lambda: 0.0,
            holder="test",
            make_lake=lambda: None,  # type: ignore[arg-type,return-value]
            make_source=lambda: None,  # type: ignore[arg-type,return-value]
        )
        self.fetcher = MemoryMediaFetcher(
            self.cache, {}, Rules.of(DEFAULT_EXTENSIONS), lambda: self.now
        )
        self.downloads = DownloadStage(self.runtime, self.api, self.fetcher, self.cache.node)
        self.uploads = UploadStage(self.runtime, self.store, self.cache)

    def offers(self, *links: str) -> None:
        """Let the API hand out *links*, one a call; the last one stays."""
        items = [[{"mediaID": 98}, {"mediaID": 99, "fullDownloadLink": one}] for one in links]
        self.api.media_items = InTurn(items)

    def download(self, record):
        return asyncio.run(self.downloads.work(record))

    def upload(self, record):
        return asyncio.run(self.uploads.work(record))

    def record(self, record):
        return asyncio.run(RecordStage(self.runtime).work(record))


class InTurn(dict):
    def __init__(self, answers):
        super().__init__({"4711": answers[-1]})
        self.answers = list(answers)

    def __getitem__(self, key):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def a_record(stage=Stage.DOWNLOAD, attempts=0, **data: Any) -> Record:
    item = MediaItem("99", "4711", "e1", 5, link(), file_name="Roof.jpg", media_type="IMAGE")
    return Record("m:99", Kind.MEDIA, stage, {**media_to_json(item), **data}, attempts=attempts)


def onward(outcome, stage, **data: Any) -> Record:
    """Return the record as it is claimed next."""
    assert isinstance(outcome, Advance)
    assert outcome.stage is stage
    return Record("m:99", Kind.MEDIA, stage, {**outcome.data, **data})


def row_of(outcome):
    (change,) = decode_changes(outcome.rows)
    assert refusal(ATTACHMENTS, change) is None
    return change
