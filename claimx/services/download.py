"""The stage DOWNLOAD: a media file comes into this node's cache (domain page, sections 3 and 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import structlog

from claimx.domain.changes import MediaItem
from claimx.domain.errors import (
    DiskFull,
    LinkExpired,
    NotYetThere,
    TargetUnavailable,
    TooLargeNow,
)
from claimx.domain.links import expiry
from claimx.domain.ports.api import ClaimXApi
from claimx.domain.ports.media import MediaFetcher
from claimx.domain.records import Advance, Outcome, Record, Stage
from claimx.domain.retry import PAUSE_SECONDS, Refresh
from claimx.domain.times import MICROS_PER_SECOND, from_seconds, seconds_left
from claimx.domain.values import Converter, Unconvertible, id_text, text
from claimx.services.attachments import (
    cached_to_json,
    count_of,
    failed,
    item_of,
    refreshes_spent,
)
from claimx.services.chunk import BOUND_SECONDS, Chunk, claim
from claimx.services.chunk_account import Counts
from claimx.services.runtime import Runtime
from claimx.services.settle import decision_on

log = structlog.get_logger(__name__)

LARGEST_CHUNK = 500

PATIENCE_SECONDS = 600.0
"""How long others take the room that a large file waits for; then they wait for it, too."""


_GIVEN_LIFE = 120 * MICROS_PER_SECOND  # taken for granted of a new link, to ask for it at once


class DownloadStage:
    """
    Downloads of one process, into the cache of *node*.

    When the cache is full the stage pauses for `PAUSE_SECONDS`: nothing is claimed, and what was
    claimed waits. So does what found it full; none of them spends an attempt. A file that is too
    large for the room that is left waits alone for `PATIENCE_SECONDS`, and then the stage pauses
    for it as well: without, smaller ones could take its room for ever.
    """

    def __init__(self, runtime: Runtime, api: ClaimXApi, fetcher: MediaFetcher, node: str) -> None:
        self._runtime = runtime
        self._api = api
        self._fetcher = fetcher
        self._node = node
        self._paused_until = 0.0

    async def run(self, ids: Sequence[str], *, bound_seconds: float = BOUND_SECONDS) -> Counts:
        """
        Download those of the media records named by *ids* that are due here; safe to repeat.

        Raises Unavailable when the ledger does not answer. Cancelled, it settles what is done
        and gives the rest back.
        """
        if self._pause() > 0:
            log.info("downloads pause: the cache has no room", seconds=round(self._pause()))
            return Counts()
        records = await claim(self._runtime, Stage.DOWNLOAD, ids[:LARGEST_CHUNK])
        chunk = Chunk(
            self._runtime,
            Stage.DOWNLOAD,
            self.work,
            concurrency=self._runtime.limits.download_concurrency,
            bound_seconds=bound_seconds,
        )
        return await chunk.run(records)

    async def work(self, record: Record) -> Outcome:
        """Return what becomes of one record."""
        data = dict(record.data)
        if (pause := self._pause()) > 0:
            full = DiskFull("the cache has no room; downloads pause", pause)
            return failed(record, full, self._runtime, data)
        try:
            return await self._download(record, data)
        except Exception as error:  # noqa: BLE001 - the policy judges what nobody classified
            if isinstance(error, TargetUnavailable) and not refreshes_spent(data):
                data["refresh"] = True  # once: the others are for links that end meanwhile
            if isinstance(error, DiskFull):
                # links end while it waits, for which it must not die either
                spent = count_of(data, "refreshes") - count_of(record.data, "refreshes")
                data["free"] = count_of(data, "free") + spent
                if isinstance(error, TooLargeNow) and record.waited_seconds < PATIENCE_SECONDS:
                    log.info("a file waits for room in the cache", reason=str(error))
                else:
                    self._paused_until = self._runtime.now() + PAUSE_SECONDS
                    log.warning("the cache has no room: downloads pause", reason=str(error))
            return failed(record, error, self._runtime, data)

    async def _download(self, record: Record, data: dict[str, Any]) -> Outcome:
        item = item_of(data)
        while True:  # each turn but the first spends a refresh, and those are bounded
            if data.get("refresh"):
                item = await self._refreshed(item, data)
            try:
                cached = await self._fetcher.fetch(item)
            except LinkExpired as error:
                spent = refreshes_spent(data)
                decision = decision_on(record, error, self._runtime, refreshes=spent)
                if not isinstance(decision, Refresh):
                    raise
                data["refresh"] = True
                continue
            data["cached"] = cached_to_json(cached)
            return Advance(record, Stage.UPLOAD, data, affinity=self._node)

    async def _refreshed(self, item: MediaItem, data: dict[str, Any]) -> MediaItem:
        """
        Return the item with a new link, noted in *data*, as it is to be asked for now.

        Raises NotYetThere when the API has none (any more), or what the call raises.
        """
        answer = await self._api.media(item.project_id, [item.media_id])
        link = link_in(answer.data, item.media_id)
        if not link:
            raise NotYetThere(f"the API has no link for media {item.media_id}")
        # the end that the item declared was the old link's
        fresh = replace(item, link=link, expires_at=expiry(link))
        data["link"], data["expires_at"] = fresh.link, fresh.expires_at
        data["refreshes"] = count_of(data, "refreshes") + 1
        data.pop("refresh", None)
        # what was given just now is not over, whatever the clock of this machine says
        asked = from_seconds(self._runtime.now()) + _GIVEN_LIFE
        return replace(fresh, expires_at=max(fresh.expires_at or asked, asked))

    def _pause(self) -> float:
        return seconds_left(self._paused_until, self._runtime.now(), PAUSE_SECONDS)


def link_in(answer: Any, media_id: str) -> str:
    """Return the download link that an answer of the media call has for one id, else empty."""
    for found in answer if isinstance(answer, list) else ():
        if isinstance(found, dict) and _read(id_text, found.get("mediaID")) == media_id:
            link = found.get("fullDownloadLink")
            if isinstance(link, str) and (read := text(link)):
                return read
    return ""


def _read(convert: Converter, value: Any) -> Any:
    try:
        return convert(value)
    except Unconvertible:
        return None
