"""Connections to media hosts: only to addresses that were checked, never through a proxy."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from claimx.domain.addresses import AllowList, address_of
from claimx.domain.errors import NotAllowed

# Of a connection that is read faster than it is taken: twice that. aiohttp's own 64 KiB stop and
# start the connection several times for an ordinary photo.
_READ_BYTES = 512 * 1024

# Of one header: a link that a redirect names may have 16 kB, and a page's cookies or policy more
# than the 8 kB that aiohttp takes; to it such an answer is no valid HTTP.
_HEADER_BYTES = 64 * 1024


class CheckedResolver(AbstractResolver):
    """
    Resolves a name and lets through only addresses that may be connected to.

    aiohttp connects to exactly what a resolver returns, so no second look-up can answer otherwise
    (DNS rebinding). A name with one forbidden address is refused as a whole.
    """

    def __init__(self, inner: AbstractResolver, allowed: AllowList, *, plain: bool) -> None:
        self._inner = inner
        self._allowed = allowed
        self._plain = plain

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses; raises NotAllowed, or OSError when the name has none."""
        found = await self._inner.resolve(host, port, family)
        for result in found:
            address = address_of(result["host"].partition("%")[0])
            if address is None:
                raise NotAllowed(f"{host} resolves to what is no address", host=host)
            self._allowed.check_address(address, host, plain=self._plain)
        return found

    async def close(self) -> None:
        """Close what it asks."""
        await self._inner.close()


class MediaSessions:
    """
    The sessions of one event loop at a time: one for https, one for plain http to loopback.

    They keep no cookies and read no proxy from the environment. *connections* bounds both.
    """

    def __init__(
        self,
        allowed: AllowList,
        *,
        connections: int = 100,
        connect_seconds: float = 10.0,
        idle_seconds: float = 30.0,
        make_resolver: Callable[[], AbstractResolver] = ThreadedResolver,
    ) -> None:
        self._allowed = allowed
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=connect_seconds, sock_read=idle_seconds
        )
        self._make_resolver = make_resolver
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    def of(self, scheme: str) -> aiohttp.ClientSession:
        """Return the running loop's session for *scheme*."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._abandon()
            self._loop = loop
        if scheme not in self._sessions:
            self._sessions[scheme] = self._open(plain=scheme == "http")
        return self._sessions[scheme]

    async def close(self) -> None:
        """Close the running loop's connections."""
        if self._loop is asyncio.get_running_loop():
            for session in self._sessions.values():
                await session.close()
        self._sessions = {}
        self._loop = None

    def _open(self, *, plain: bool) -> aiohttp.ClientSession:
        resolver = CheckedResolver(self._make_resolver(), self._allowed, plain=plain)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=resolver, limit=self._connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            read_bufsize=_READ_BYTES,
            max_line_size=_HEADER_BYTES,
            max_field_size=_HEADER_BYTES,
            trust_env=False,
            auto_decompress=False,  # it takes a stream that is cut for a whole one
            # files as they are: their length and hash are to be the stored ones
            headers={"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "claimx"},
        )

    def _abandon(self) -> None:
        """Drop sessions of a loop that is over; nobody can close them properly any more."""
        for session in self._sessions.values():
            session.detach()
        self._sessions = {}
