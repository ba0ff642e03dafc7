"""One media file on its way into the cache: bounded, counted, hashed, its first bytes checked."""

from __future__ import annotations

import asyncio
import re

import aiohttp
import structlog
from aiohttp.http_exceptions import HttpProcessingError

from claimx.adapters.cache import DiskCache
from claimx.adapters.cache_begun import Begun
from claimx.adapters.cache_incoming import Incoming
from claimx.adapters.compressed import Decompression, Undecodable, coding_in
from claimx.adapters.file_calls import SMALL_BYTES, FileCalls
from claimx.domain.errors import ClaimXError, TooLarge, Unreadable
from claimx.domain.kinds import HEAD_BYTES
from claimx.domain.media import Content, Rules

log = structlog.get_logger(__name__)

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_OK, _PARTIAL = 200, 206
_BOUND = " (CLAIMX_MAX_MEDIA_BYTES)"


class Transfer:
    """
    A file that is being received; over several responses when a cut one can be resumed.

    *declared* is the extension that name or link declare. *calls* makes its writes, so a slow
    disk never holds up the other downloads of the loop.
    """

    def __init__(
        self, cache: DiskCache, calls: FileCalls, rules: Rules, max_bytes: int, declared: str
    ) -> None:
        self._calls = calls
        self._cache = cache
        self._rules = rules
        self._max_bytes = max_bytes
        self._declared = declared
        self._incoming: Incoming | None = None
        self._looked = self._over = False
        self._buffer = bytearray()
        self._total: int | None = None
        self._announced = False
        self._tag = ""
        self._resumed_at = 0
        self._header: str | None = None
        self.received = 0
        self.sha256 = ""
        self.content: Content | None = None

    async def go_on(self, media_id: str) -> None:
        """
        Take over what an earlier try has received of the file, if it has left any; looks once.

        Raises DiskFull when there is no room for the rest, TooLarge.
        """
        looked, self._looked = self._looked, True
        if not looked and self._cache.has_begun(media_id):
            await self._calls.run_apart(self._take_over, media_id)

    def leave(self, media_id: str) -> None:
        """Leave what was received for the next try, or nothing behind; safe at any time."""
        self._over = True
        if self._incoming is None:
            return
        if self._tag and self._total:
            begun = Begun(self._incoming.length, self._total, self._tag, self._header)
            self._incoming.leave(self._cache.begun(media_id), begun)
            self._incoming = None
        else:
            self.discard()

    def resume_headers(self) -> dict[str, str]:
        """Return the headers that ask for the rest, none for the whole."""
        if not self.received or not self._tag:
            return {}
        return {"Range": f"bytes={self.received}-", "If-Range": self._tag}

    def can_resume(self) -> bool:
        """Say whether the rest may be asked for: a tag identifies the file, and this try got on."""
        return bool(self._tag and self._total and self._resumed_at < self.received < self._total)

    def begin_anew(self) -> None:
        """Forget what was received: the whole is asked for next."""
        self.discard()
        self._buffer = bytearray()
        self.received = self._resumed_at = 0
        self.content = None
        self._tag = ""

    async def take(self, response: aiohttp.ClientResponse) -> None:
        """
        Receive the body of a 200, or of a 206 that was asked for; decompressed, within the bound.

        Raises NotAllowed, TooLarge, LinkExpired, DiskFull, Unreadable, and aiohttp's errors for a
        body that is cut; what was received until then counts for a resumption.
        """
        host = response.url.host
        try:
            stream = self._open(response)
            async for chunk in response.content.iter_any():
                for piece in stream.pieces(chunk) if stream else (chunk,):
                    self.received += len(piece)
                    if self.received > self._max_bytes:
                        told = f"the file is longer than {self._max_bytes} bytes{_BOUND}"
                        raise TooLarge(told, host=host)
                    self._buffer += piece
                    if len(self._buffer) >= SMALL_BYTES:
                        await self._write_away()
        except Undecodable as error:
            raise Unreadable(f"the body does not decompress: {error}", host=host) from error
        # an empty file has no stream, where its length says so
        if stream and not stream.whole and response.content_length != 0:
            raise Unreadable("the body does not end with its compressed stream", host=host)
        if self._total is not None and self.received != self._total:
            raise Unreadable(
                f"the body has {self.received} bytes, announced were {self._total}",
                status=response.status,
                host=host,
            )
        self._look()

    async def finish(self, media_id: str, protocol: object) -> str:
        """
        Make it a cached file; returns its name. Raises DiskFull, Unreadable.

        *protocol* is the connection's, which notices what came beyond the announced length.
        """
        await asyncio.sleep(0)  # a turn of the loop, in which it would be noticed
        failed = getattr(protocol, "exception", lambda: None)()
        if self._announced and isinstance(failed, HttpProcessingError):
            raise Unreadable("the body is longer than its Content-Length")
        # a large file takes seconds to sync
        run = self._calls.run if self.received <= SMALL_BYTES else self._calls.run_apart
        await run(self._write_rest)
        return await run(self._file().keep, media_id)  # a turn later: see `begin_writing`

    def discard(self) -> None:
        """Leave nothing behind; safe at any time."""
        if self._incoming is not None:
            self._incoming.discard()
            self._incoming = None

    def _open(self, response: aiohttp.ClientResponse) -> Decompression | None:
        """Prepare for the body; returns what takes it apart when it is compressed."""
        coding = coding_in(",".join(response.headers.getall("Content-Encoding", ())))
        if response.status == _PARTIAL:
            self._check_range(response, coding)
            self._resumed_at = self.received
            return None
        self.begin_anew()  # not what was begun: from the start
        stream = Decompression(coding) if coding else None
        length = None if coding else response.content_length
        self._announced = response.content_length is not None
        self._total = length
        if length is not None and length > self._max_bytes:
            raise TooLarge(
                f"the file has {length} bytes, more than {self._max_bytes}{_BOUND}",
                host=response.url.host,
            )
        self._header = response.headers.get("Content-Type")
        tag = response.headers.get("ETag", "")
        # a weak one proves nothing, and the parts of a compressed body are not the file's
        self._tag = tag if tag.startswith('"') and not coding else ""
        self._incoming = self._cache.begin(length or 0)
        return stream

    def _check_range(self, response: aiohttp.ClientResponse, coding: str | None) -> None:
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if (
            found is None
            or coding is not None  # compressed meanwhile: its offsets are others
            or int(found[1]) != self.received
            or (found[3] != "*" and int(found[3]) != self._total)
            or response.headers.get("ETag", self._tag) != self._tag
        ):
            self._tag = ""  # never resumed again
            raise Unreadable(
                "the answer is another part than was asked for", host=response.url.host
            )

    async def _write_away(self) -> None:
        self._look()
        piece, self._buffer = self._buffer, bytearray()
        await self._calls.run_apart(self._file().write, piece)

    def _take_over(self, media_id: str) -> None:
        found = self._cache.go_on(media_id)
        if found is None:
            return
        self._incoming, begun = incoming, _ = found
        if self._over:  # cancelled while this read: nobody else would end it
            incoming.leave(self._cache.begun(media_id), begun)
            return
        try:
            head = incoming.head(HEAD_BYTES)
            self.content = self._rules.check(head, self._declared, begun.header)
        except (OSError, ClaimXError):  # by another name, or another setting: the whole will tell
            self.discard()
            return
        self._total, self._tag, self._header = begun.total, begun.tag, begun.header
        self.received = self._resumed_at = begun.length
        self._announced = True
        log.info("a download goes on where its last try ended", bytes=begun.length, of=begun.total)

    def _look(self) -> None:
        """Check the first bytes, once."""
        if self.content is None:
            self.content = self._rules.check(self._buffer, self._declared, self._header)

    def _write_rest(self) -> None:
        file = self._file()
        file.write(self._buffer)
        self._buffer = bytearray()
        self.sha256 = file.sha256

    def _file(self) -> Incoming:
        if self._incoming is None:
            msg = "nothing was received yet"
            raise RuntimeError(msg)
        return self._incoming
