"""What a worker process does its chunks with; one a process, kept between chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from claimx.domain.ports.api import ClaimXApi
from claimx.domain.ports.media import BlobStore, MediaCache, MediaFetcher
from claimx.services.chunk_account import Counts
from claimx.services.download import DownloadStage
from claimx.services.enrich import EnrichStage
from claimx.services.record import RecordStage
from claimx.services.runtime import Runtime
from claimx.services.upload import UploadStage
from claimx.tasks.loop import ProcessLoop


class Workshop:
    """The stages that work in the event loop, with the connections that they share."""

    def __init__(
        self,
        loop: ProcessLoop,
        runtime: Runtime,
        api: ClaimXApi,
        fetcher: MediaFetcher,
        cache: MediaCache,
        store: BlobStore,
    ) -> None:
        self._loop = loop
        self._api = api
        self._fetcher = fetcher
        self._enrich = EnrichStage(runtime, api)
        self._download = DownloadStage(runtime, api, fetcher, cache.node)
        self._upload = UploadStage(runtime, store, cache)
        self._record = RecordStage(runtime)

    def enrich(self, ids: Sequence[str]) -> Counts:
        """Run a chunk of events."""
        return self._loop.run(self._enrich.run(ids))

    def download(self, ids: Sequence[str]) -> Counts:
        """Run a chunk of downloads."""
        return self._loop.run(self._download.run(ids))

    def upload(self, ids: Sequence[str]) -> Counts:
        """Run a chunk of uploads."""
        return self._loop.run(self._upload.run(ids))

    def record(self, ids: Sequence[str]) -> Counts:
        """Run a chunk of uploaded media."""
        return self._loop.run(self._record.run(ids))

    def close(self) -> None:
        """Close connections and the loop."""
        self._loop.run(self._upload.close())
        for part in (self._api, self._fetcher):
            closing: Any = getattr(part, "close", None)
            if closing is not None:
                self._loop.run(closing())
        self._loop.close()
