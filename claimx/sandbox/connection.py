"""HTTP/1.1 on one connection: requests in their order, answers no faster than they are taken."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 256 * 1024 * 1024
CHUNK_BYTES = 256 * 1024
COPIED_BYTES = 16 * 1024
"""A body up to here is put behind its head and sent with it as one piece."""
_WITH_RST = struct.pack("ii", 1, 0)
_REFUSALS = {
    400: b"HTTP/1.1 400 Bad Request",
    413: b"HTTP/1.1 413 Content Too Large",
    431: b"HTTP/1.1 431 Request Header Fields Too Large",
}


class ClientLeft(Exception):
    """Nothing more can be sent: the connection is closed, by whichever side."""


class Request:
    """One request as it came; header names are in lower case, a repeated one's values joined."""

    __slots__ = ("body", "connection", "headers", "keep_alive", "method", "target")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.method = "GET"
        self.target = b""
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.keep_alive = True


class Connections(set["Connection"]):
    """Every connection that is open or serves."""

    closed = False
    """Whether what is made from now on is ended at once: TLS makes one long after its accept."""


class Connection(asyncio.Protocol):
    """
    Reads requests and has *serve* answer them, one after the other.

    *serve* writes to the connection and says when the answer is whole (`send`, or `write` and
    `finish`); otherwise the connection is dropped. Whether the client is still there does not
    matter to what is served already. *known* holds it for as long as it is open or serves.

    What comes while a request is served is read once, and the rest when it is answered. What is
    no HTTP gets 400, a head beyond `MAX_HEAD_BYTES` 431 and a body beyond *most_bytes* 413, and
    that ends the connection. One read may go beyond either before it is noticed.
    """

    def __init__(
        self,
        serve: Callable[[Request], Awaitable[None]],
        known: Connections,
        most_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self.begun = False
        """Whether anything was sent of the answer to the request that is served."""
        self._serve = serve
        self._known = known
        self._most_bytes = most_bytes
        self._loop = asyncio.get_running_loop()
        self._parser = HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._lost = False
        self._reading = Request(self)
        self._in_head = True
        self._pieces: list[bytes] = []
        self._length = 0
        self._waiting: deque[Request] = deque()
        self._refusal = 0
        self._task: asyncio.Task[None] | None = None
        self._finished = False
        self._held = False
        self._asks = False
        self._last = False
        self._room: asyncio.Future[None] | None = None

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._known.add(self)
        if self._known.closed:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake up who waits for room; what is served goes on."""
        del exc
        self._lost = True
        del self._parser  # it holds methods of this object, which holds it
        self.resume_writing()
        if self._task is None:
            self._known.discard(self)

    def eof_received(self) -> bool:
        """Answer what is asked already: a client may end its own half first (TLS has no halves)."""
        self._last = self._task is not None and not self._transport.get_extra_info("sslcontext")
        return self._last

    def pause_writing(self) -> None:
        """Let writers wait: the client takes less than it is sent."""
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        """Let writers go on."""
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Parse, and start to serve what is complete."""
        if self._refusal:
            return
        busy, unfinished = self._task is not None, self._reading
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            if not self._refusal:
                self._waiting.pop()  # told as a complete request, whose body was not read
                self._refusal = 400
        except HttpParserError:
            self._refusal = self._refusal or 400
        if self._reading is unfinished:
            self._count(len(data))
        if not busy and (self._waiting or self._refusal):
            self._task = self._loop.create_task(self._work())
        if busy or self._refusal or len(self._waiting) > 1:
            self._held = True
            self._transport.pause_reading()

    def _count(self, more: int) -> None:
        self._length += more
        if self._length > (MAX_HEAD_BYTES if self._in_head else self._most_bytes):
            self._refusal = self._refusal or (431 if self._in_head else 413)

    # What the parser tells.

    def on_url(self, url: bytes) -> None:
        """Take the target, or a part of it."""
        self._reading.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer behind a body is passed over."""
        if self._in_head:
            headers, name = self._reading.headers, name.lower()
            headers[name] = headers[name] + b"," + value if name in headers else value

    def on_headers_complete(self) -> None:
        """Refuse a body that will be too large, ask for one that waits for it."""
        headers = self._reading.headers
        self._in_head, self._length = False, 0
        if int(headers.get(b"content-length", b"0")) > self._most_bytes:
            self._refusal = 413
        elif headers.get(b"expect", b"").rstrip().lower() == b"100-continue":
            self._asks = True
            if self._task is None and not self._waiting:
                self._let_it_come()

    def _let_it_come(self) -> None:
        """Ask for a body that waits for it, unless it has begun to come."""
        if self._asks and not self._pieces:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._asks = False

    def on_body(self, piece: bytes) -> None:
        """Keep a part of the body."""
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """Put the request behind those that wait."""
        request, self._reading = self._reading, Request(self)
        self._in_head, self._length, self._asks = True, 0, False
        request.method = self._parser.get_method().decode()
        request.keep_alive = self._parser.should_keep_alive()
        if self._pieces:
            request.body = b"".join(self._pieces)
            self._pieces = []
        if not self._refusal:
            self._waiting.append(request)

    # Serving.

    async def _work(self) -> None:
        """Answer what waits, and refuse what came behind it."""
        try:
            while self._waiting:
                request = self._waiting.popleft()
                self.begun = self._finished = False
                await self._serve(request)
                if self._transport.is_closing():
                    return
                if not self._finished:
                    self._transport.abort()
                    return
                if not request.keep_alive:
                    self._transport.close()
                    return
            if self._refusal:
                head = _REFUSALS[self._refusal]
                self._transport.write(head + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                self._transport.close()
        finally:
            self._task = None
            if self._lost:
                self._known.discard(self)
            elif self._last:
                self._transport.close()
            elif not self._transport.is_closing():
                self._let_it_come()
                if self._held:
                    self._held = False
                    self._transport.resume_reading()

    async def send(self, head: bytes, body: bytes | memoryview) -> None:
        """Send a whole answer; raises `ClientLeft`."""
        if len(body) <= COPIED_BYTES:
            await self.write(b"".join((head, body)))
        elif len(body) <= CHUNK_BYTES:
            await self.write(head, body)
        else:
            await self.write(head)
            view = memoryview(body)
            for offset in range(0, len(body), CHUNK_BYTES):
                await self.write(view[offset : offset + CHUNK_BYTES])
        self._finished = True

    async def write(self, *pieces: bytes | memoryview) -> None:
        """Send *pieces* once the client has taken what was sent before; raises `ClientLeft`."""
        if self._room is not None:
            await self._room
        if self._transport.is_closing():
            raise ClientLeft
        self.begun = True
        if len(pieces) == 1:
            self._transport.write(pieces[0])
        else:
            self._transport.writelines(pieces)

    def finish(self) -> None:
        """Say that the answer is whole."""
        self._finished = True

    def close(self) -> None:
        """Hang up behind what was sent."""
        self._transport.close()

    def reset(self) -> None:
        """Drop the connection with an RST, as a crashed peer or an impatient proxy does."""
        peer: socket.socket | None = self._transport.get_extra_info("socket")
        if peer is not None and not self._transport.is_closing():
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _WITH_RST)
        self._transport.abort()

    def drop(self) -> asyncio.Task[None] | None:
        """End it at once, with what it serves; returns what still has to hear of it."""
        if self._task is not None:
            self._task.cancel()
        self._known.discard(self)  # a task that has not begun will not do it
        self._transport.abort()
        return self._task
