"""The stage UPLOAD: a cached media file goes to OneLake (domain page, section 3)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog

from claimx.domain.link_life import is_ending
from claimx.domain.names import blob_path
from claimx.domain.ports.media import BlobStore, CachedFile, MediaCache
from claimx.domain.records import Advance, Buried, Outcome, Record, Stage
from claimx.domain.times import from_seconds
from claimx.services.attachments import cached_of, count_of, failed, item_of
from claimx.services.chunk import BOUND_SECONDS, Chunk, claim
from claimx.services.chunk_account import Counts
from claimx.services.runtime import Runtime
from claimx.services.sweep import CacheSweeper
from claimx.services.uploaded import UploadedFiles

log = structlog.get_logger(__name__)

LARGEST_CHUNK = 500
_PATIENCE = 2  # a file that vanishes more often is fetched again after a delay
_LONGEST_DELAY = 300.0


class UploadStage:
    """
    Uploads of one process, out of *cache*.

    What can't be found in this cache (another node's, or gone) goes back to DOWNLOAD and is never
    a failure. A file is removed some seconds after its row was committed (`UploadedFiles`); what
    nobody remembers is swept along the way, at most once a minute.
    """

    def __init__(self, runtime: Runtime, store: BlobStore, cache: MediaCache) -> None:
        self._runtime = runtime
        self._store = store
        self._cache = cache
        self._sweeper = CacheSweeper(cache, runtime.ledger, runtime.now)
        self._uploaded = UploadedFiles(cache, runtime.ledger, runtime.now)

    async def run(self, ids: Sequence[str], *, bound_seconds: float = BOUND_SECONDS) -> Counts:
        """
        Upload those of the media records named by *ids* that are due here; safe to repeat.

        Raises Unavailable when the ledger does not answer. Cancelled, it settles what is done
        and gives the rest back.
        """
        records = await claim(self._runtime, Stage.UPLOAD, ids[:LARGEST_CHUNK])
        chunk = Chunk(
            self._runtime,
            Stage.UPLOAD,
            self.work,
            concurrency=self._runtime.limits.upload_concurrency,
            bound_seconds=bound_seconds,
        )
        counts = await chunk.run(records)
        if self._sweeper.is_due():
            await asyncio.to_thread(self._sweeper.sweep_if_due)
        return counts

    async def work(self, record: Record) -> Outcome:
        """Return what becomes of one record."""
        data = dict(record.data)
        try:
            outcome = await self._upload(record, data)
        except Exception as error:  # noqa: BLE001 - the policy judges what nobody classified
            outcome = failed(record, error, self._runtime, data)
        self._note(record, outcome)
        return outcome

    async def close(self) -> None:
        """Close the store's connections, and end the thread that looks after uploaded files."""
        self._uploaded.close()
        await self._store.close()

    async def _upload(self, record: Record, data: dict[str, Any]) -> Outcome:
        item, cached = item_of(data), cached_of(data)
        if cached is None or cached.node != self._cache.node:
            return self._back(record, data)
        path = blob_path(item.project_id, item.media_id, item.file_name, cached.extension)
        try:
            await self._put(path, cached)
        except FileNotFoundError:
            return self._back(record, data)
        data["blob_path"] = path
        data["uploaded_at"] = from_seconds(self._runtime.now())
        return Advance(record, Stage.RECORD, data)

    def _note(self, record: Record, outcome: Outcome) -> None:
        """Remember the file of a record that is through with it here."""
        sent = isinstance(outcome, Advance) and outcome.stage is Stage.RECORD
        cached = cached_of(record.data)
        if cached is None or cached.node != self._cache.node:
            return
        if sent or isinstance(outcome, Buried):
            self._uploaded.add(record.id, cached.name)

    async def _put(self, path: str, cached: CachedFile) -> None:
        try:
            source = self._cache.path(cached.name)
        except ValueError:
            raise FileNotFoundError(cached.name) from None
        await self._store.put(path, source, cached.bytes, cached.sha256, cached.content_type)
        self._runtime.metrics.add("media_bytes", cached.bytes, direction="upload")

    def _back(self, record: Record, data: dict[str, Any]) -> Advance:
        """Send a record whose file is not here back to be downloaded again."""
        data.pop("cached", None)
        vanished = data["vanished"] = count_of(data, "vanished") + 1
        if is_ending(item_of(data), self._runtime.now()):
            data["refresh"] = True
            data["free"] = count_of(data, "free") + 1
        log.info("cached file is gone: downloaded again", record=record.id, times=vanished)
        delay = 0.0 if vanished <= _PATIENCE else min(2.0 ** min(vanished, 16), _LONGEST_DELAY)
        return Advance(record, Stage.DOWNLOAD, data, delay=delay)
