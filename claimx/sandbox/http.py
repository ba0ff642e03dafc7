"""A lean HTTP server on tornado that can also misbehave: resets, cut bodies, slow answers."""

from __future__ import annotations

import asyncio
import http.client
import logging
import socket
import ssl
import struct
import time
from abc import ABC, abstractmethod
from random import Random
from typing import Any, ClassVar

import orjson
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets

from claimx.sandbox.exchange import Answer, Exchange, LowerCaseHeaders, Traffic, log_in_page
from claimx.sandbox.faults import Fault, FaultPlan

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 256 * 1024 * 1024
CHUNK_BYTES = 256 * 1024


class Service(ABC):
    """
    One port of the sandbox.

    A subclass answers in `answer`; whatever it raises becomes a 500 and is logged. *latency* is
    a range in seconds, waited before each answer without holding up others.
    """

    name: ClassVar[str] = "service"

    def __init__(
        self, faults: FaultPlan | None = None, latency: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        self.faults = faults
        self.latency = latency
        self._chance = Random(self.name)
        self.traffic = Traffic()
        self.port = 0
        self.tls: ssl.SSLContext | None = None
        """Set before it listens, it serves https."""
        self._server: HTTPServer | None = None
        self._running: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Base URL, known once it listens."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def listen(self, port: int = 0) -> None:
        """Bind the loopback port (0: any free one) and serve on the running event loop."""
        sockets = bind_sockets(port, "127.0.0.1", family=socket.AF_INET, backlog=1024)
        self.port = sockets[0].getsockname()[1]
        server = HTTPServer(
            self._accept,
            max_buffer_size=MAX_BODY_BYTES,
            max_body_size=MAX_BODY_BYTES,
            ssl_options=self.tls,
        )
        server.add_sockets(sockets)
        self._server = server

    async def close(self) -> None:
        """Stop listening and end what still runs."""
        if self._server is not None:
            self._server.stop()
            for task in tuple(self._running):
                task.cancel()
            await self._server.close_all_connections()

    @abstractmethod
    async def answer(self, exchange: Exchange) -> Answer | None:
        """Return the answer, or None when the subclass has written it itself."""

    def pattern(self, exchange: Exchange) -> str:
        """Return the path with its ids folded, for the statistics."""
        return f"{exchange.method} {exchange.path}"

    def fault_key(self, exchange: Exchange) -> str:
        """Return what a fault rule sees and counts by: the path without anything signed."""
        return exchange.path

    async def spoil(self, exchange: Exchange, fault: Fault) -> Answer | bool | None:
        """Carry out a fault of this service alone; False when it is not one."""
        del exchange, fault
        return False

    def _accept(self, raw: HTTPServerRequest) -> None:
        task = asyncio.ensure_future(self._serve(raw))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _serve(self, raw: HTTPServerRequest) -> None:
        traffic = self.traffic
        traffic.requests += 1
        traffic.in_flight += 1
        traffic.highest = max(traffic.highest, traffic.in_flight)
        try:
            exchange = Exchange(raw)
            traffic.paths[self.pattern(exchange)] += 1
            if self.latency[1] > 0:
                await asyncio.sleep(self._chance.uniform(*self.latency))
            await self._respond(exchange)
        except (StreamClosedError, asyncio.CancelledError):
            pass  # the client left, or the sandbox stops
        except Exception:
            traffic.errors += 1
            logger.exception("sandbox %s failed on %s %s", self.name, raw.method, raw.path)
            await self._last_word(raw)
        finally:
            traffic.in_flight -= 1

    async def _last_word(self, raw: HTTPServerRequest) -> None:
        try:
            await self.send(Exchange(raw), Answer(500, b'{"error":"the sandbox itself failed"}'))
        except Exception:
            logger.debug("no answer possible any more", exc_info=True)

    async def _respond(self, exchange: Exchange) -> None:
        fault = None
        if self.faults is not None:
            fault = self.faults.choose(self.name, self.fault_key(exchange), time.monotonic())
        if fault is None:
            answer = await self.answer(exchange)
            if answer is not None:
                await self.send(exchange, answer)
            return
        self.traffic.faults[fault.kind] += 1
        spoiled = await self.spoil(exchange, fault)
        if spoiled is not False:
            if isinstance(spoiled, Answer):
                await self.send(exchange, spoiled)
            return
        await self._misbehave(exchange, fault)

    async def _misbehave(self, exchange: Exchange, fault: Fault) -> None:
        match fault.kind:
            case "reset":
                reset(exchange)
            case "login":
                await self.send(exchange, log_in_page())
            case "html":
                page = b"<html><body><h1>Bad gateway</h1></body></html>"
                await self.send(exchange, Answer(200, page, "text/html"))
            case "empty":
                await self.send(exchange, Answer(200, b""))
            case "slow" | "cut" | "trickle" | "done_error" | "done_reset":
                await self._spoil_answer(exchange, fault)
            case _:
                await self.send(exchange, failure(fault))

    async def _spoil_answer(self, exchange: Exchange, fault: Fault) -> None:
        """Carry the request out, and let its answer come late, in part, or not at all."""
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        answer = await self.answer(exchange)
        if answer is None:
            return
        match fault.kind:
            case "cut":
                await self.send_cut(exchange, answer)
            case "trickle":
                await self.send_slowly(exchange, answer, fault.seconds)
            case "done_error":
                await self.send(exchange, failure(fault))
            case "done_reset":
                reset(exchange)
            case _:
                await self.send(exchange, answer)

    async def send(self, exchange: Exchange, answer: Answer) -> None:
        """Write the whole answer."""
        connection: Any = exchange.raw.connection
        self.traffic.statuses[answer.status] += 1
        headers = self._headers(answer)
        body = b"" if exchange.method == "HEAD" or answer.status in (204, 304) else answer.body
        start = ResponseStartLine(
            "HTTP/1.1", answer.status, http.client.responses.get(answer.status, "Status")
        )
        self.traffic.bytes_out += len(body)
        if len(body) <= CHUNK_BYTES:
            connection.write_headers(start, headers, body)
        else:
            await connection.write_headers(start, headers)
            for offset in range(0, len(body), CHUNK_BYTES):
                await connection.write(body[offset : offset + CHUNK_BYTES])
        connection.finish()

    async def send_cut(self, exchange: Exchange, answer: Answer) -> None:
        """Promise the whole body, send half of it and hang up."""
        connection: Any = exchange.raw.connection
        if len(answer.body) < 2:
            reset(exchange)
            return
        self.traffic.statuses[answer.status] += 1
        start = ResponseStartLine(
            "HTTP/1.1", answer.status, http.client.responses.get(answer.status, "Status")
        )
        await connection.write_headers(
            start, self._headers(answer), answer.body[: len(answer.body) // 2]
        )
        connection.stream.close()

    async def send_slowly(self, exchange: Exchange, answer: Answer, seconds: float) -> None:
        """Send the body in ten pieces over *seconds*."""
        connection: Any = exchange.raw.connection
        self.traffic.statuses[answer.status] += 1
        start = ResponseStartLine(
            "HTTP/1.1", answer.status, http.client.responses.get(answer.status, "Status")
        )
        await connection.write_headers(start, self._headers(answer))
        piece = max(1, -(-len(answer.body) // 10))
        for offset in range(0, len(answer.body), piece):
            await asyncio.sleep(seconds / 10)
            await connection.write(answer.body[offset : offset + piece])
        connection.finish()

    @staticmethod
    def _headers(answer: Answer) -> HTTPHeaders:
        headers = LowerCaseHeaders()
        length = len(answer.body) if answer.length is None else answer.length
        if answer.status not in (204, 304):
            headers["Content-Length"] = str(length)
            headers["Content-Type"] = answer.content_type
        for name, value in answer.headers.items():
            headers[name] = value
        return headers


def failure(fault: Fault) -> Answer:
    """Return the answer that says *fault*'s status."""
    headers = {"Retry-After": f"{fault.seconds:g}"} if fault.status == 429 else {}
    body = orjson.dumps({"error": {"code": str(fault.status), "message": fault.kind}})
    return Answer(fault.status, body, headers=headers)


def reset(exchange: Exchange) -> None:
    """Drop the connection with an RST, as a crashed peer or an impatient proxy does."""
    connection: Any = exchange.raw.connection
    stream = connection.stream
    if stream.socket is not None:
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()
