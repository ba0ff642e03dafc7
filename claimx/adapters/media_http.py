"""Media over HTTP into the cache (domain page, sections 3 and 6)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from claimx.adapters.cache import DiskCache
from claimx.adapters.file_calls import FileCalls
from claimx.adapters.media_errors import NO_SUCH_PART, REDIRECTS, BadRedirect, known_error, refusal
from claimx.adapters.media_sessions import MediaSessions
from claimx.adapters.media_transfer import Transfer
from claimx.domain.addresses import AllowList, Target
from claimx.domain.changes import MediaItem
from claimx.domain.errors import (
    CircuitOpen,
    ClaimXError,
    DiskFull,
    LinkExpired,
    Permanent,
    TargetUnavailable,
    TooLarge,
    Transient,
    Unavailable,
    Unreadable,
)
from claimx.domain.link_life import is_ending
from claimx.domain.links import is_signed
from claimx.domain.media import Rules
from claimx.domain.ports.gates import Gates
from claimx.domain.ports.media import CachedFile
from claimx.domain.ports.telemetry import Metrics
from claimx.domain.times import from_seconds

MAX_REDIRECTS = 5
MAX_RESUMES = 3


@dataclass(frozen=True, slots=True)
class _Moved:
    """The answer was a redirect; *location* is where to, None when it does not say."""

    location: str | None


class HTTPMediaFetcher:
    """
    `claimx.domain.ports.media.MediaFetcher` over HTTP, for one event loop at a time.

    *allowed_hosts* and *allowed_extensions* are the settings' lists, *max_bytes* bounds a file,
    *total_seconds* a fetch, *idle_seconds* its silence. The API's token never comes here. Raises
    ValueError for an allowed host that is none.
    """

    def __init__(
        self,
        cache: DiskCache,
        gates: Gates,
        metrics: Metrics,
        *,
        allowed_hosts: Iterable[str],
        allowed_extensions: Iterable[str],
        max_bytes: int,
        allow_loopback: bool = False,
        connect_seconds: float = 10.0,
        idle_seconds: float = 30.0,
        total_seconds: float = 230.0,
        connections: int = 100,
        now: Callable[[], float] = time.time,
        make_resolver: Callable[[], AbstractResolver] = ThreadedResolver,
    ) -> None:
        self._cache = cache
        self._calls = FileCalls()
        self._gates = gates
        self._metrics = metrics
        self._allowed = AllowList.of(allowed_hosts, allow_loopback=allow_loopback)
        self._rules = Rules.of(allowed_extensions)
        self._max_bytes = max_bytes
        self._total_seconds = total_seconds
        self._now = now
        self._sessions = MediaSessions(
            self._allowed,
            connections=connections,
            connect_seconds=connect_seconds,
            idle_seconds=idle_seconds,
            make_resolver=make_resolver,
        )

    async def fetch(self, item: MediaItem) -> CachedFile:
        """Download, check and cache one file; see the port for what is raised."""
        target = self._allowed.check_url(item.link)  # first: it judges links that are no URL
        declared = self._rules.declared(item.file_name, item.link)
        if is_ending(item, self._now()):
            raise LinkExpired("the link is over, or about to be", host=target.host)
        transfer = Transfer(self._cache, self._calls, self._rules, self._max_bytes, declared)
        try:
            async with asyncio.timeout(self._total_seconds):
                name = await self._follow(item, target, transfer)
        except TimeoutError:
            raise Unavailable(
                f"the download took more than {self._total_seconds:g} s", host=target.host
            ) from None
        except (DiskFull, Permanent):  # what is there takes room for nothing
            transfer.discard()
            raise
        finally:
            transfer.leave(item.media_id)
        self._metrics.add("media_bytes", transfer.received, direction="download")
        content = transfer.content
        assert content is not None  # noqa: S101 - a finished transfer has looked at its bytes
        return CachedFile(
            node=self._cache.node,
            name=name,
            bytes=transfer.received,
            sha256=transfer.sha256,
            content_type=content.content_type,
            extension=content.extension,
            downloaded_at=from_seconds(self._now()),
        )

    async def close(self) -> None:
        """Close the running loop's connections."""
        await self._sessions.close()
        self._calls.close()

    async def _follow(self, item: MediaItem, target: Target, transfer: Transfer) -> str:
        """Follow redirects, each checked like the first URL; returns the file's cached name."""
        for hop in range(MAX_REDIRECTS + 1):
            try:
                found = await self._receive(item, target, transfer)
                if isinstance(found, str):
                    return found
                target = self._next(target, found)
            except (TooLarge, DiskFull):  # as it is by whichever link
                raise
            except Transient as error:
                if hop and is_signed(item.link):
                    raise TargetUnavailable(
                        f"where the link leads: {error}",
                        error.retry_after,
                        error.status,
                        error.host,
                    ) from error
                raise
            except Permanent as error:
                if (hop or isinstance(error, BadRedirect)) and is_signed(item.link):
                    # a signed link that leads anywhere but to the file is over
                    raise LinkExpired(
                        f"the link leads elsewhere: {error}", status=error.status, host=error.host
                    ) from error
                raise
        if is_signed(item.link):
            raise LinkExpired("the link leads nowhere", host=target.host)
        raise BadRedirect(f"more than {MAX_REDIRECTS} redirects", host=target.host)

    def _next(self, target: Target, moved: _Moved) -> Target:
        if not moved.location:
            raise BadRedirect("a redirect to nowhere", host=target.host)
        try:
            return self._allowed.check_url(urljoin(target.url, moved.location))
        except (Permanent, ValueError) as error:
            raise BadRedirect(f"a redirect to where media may not come from: {error}") from error

    async def _receive(self, item: MediaItem, target: Target, transfer: Transfer) -> str | _Moved:
        """Receive the file, asking for the rest of a cut body; or learn that it moved."""
        for resumes in range(MAX_RESUMES + 1):
            try:
                async with self._answer(item, target, transfer) as response:
                    if response.status in REDIRECTS:
                        return _Moved(response.headers.get("Location"))
                    if response.status in NO_SUCH_PART:  # the file was replaced meanwhile
                        transfer.begin_anew()
                        continue
                    protocol = response._protocol  # noqa: SLF001 - gone once the body is read
                    await transfer.take(response)
                    return await transfer.finish(item.media_id, protocol)
            except (Unavailable, Unreadable):
                if resumes == MAX_RESUMES or not transfer.can_resume():
                    raise
        raise Unreadable("the body was cut again and again", host=target.host)

    @asynccontextmanager
    async def _answer(
        self, item: MediaItem, target: Target, transfer: Transfer
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask *target* through its host's circuit, and report how it and its body went."""
        circuit = self._gates.circuit(f"media:{target.host}")
        granted, wait = circuit.permit(1)
        if not granted:
            raise CircuitOpen(
                f"the circuit of {target.host} is open", retry_after=wait or 1.0, host=target.host
            )
        try:
            await transfer.go_on(item.media_id)  # reads gigabytes: only where more may be asked for
            async with self._sessions.of(target.scheme).get(
                URL(target.url, encoded=True),
                headers=transfer.resume_headers(),
                allow_redirects=False,
            ) as response:
                resuming = "Range" in response.request_info.headers
                links = (item.link, target.url)
                _raise(refusal(response, self._now(), links, resuming=resuming))
                yield response
        except BaseException as error:
            known = known_error(error, target.host)
            if known is not None and known.counts_against_circuit:
                circuit.report(0, 1)
            else:
                circuit.give_back(1)
            if known is None or known is error:
                raise
            raise known from error
        circuit.report(1, 0)


def _raise(error: ClaimXError | None) -> None:
    if error is not None:
        raise error
