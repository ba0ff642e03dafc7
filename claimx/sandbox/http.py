"""A lean HTTP server that can also misbehave: resets, cut bodies, slow answers."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from abc import ABC, abstractmethod
from random import Random
from typing import ClassVar

import orjson

from claimx.sandbox.connection import MAX_BODY_BYTES, ClientLeft, Connection, Connections, Request
from claimx.sandbox.exchange import Answer, Exchange, Traffic, body_of, head_of, log_in_page
from claimx.sandbox.faults import Fault, FaultPlan

logger = logging.getLogger(__name__)

BACKLOG = 1024


class Service(ABC):
    """
    One port of the sandbox.

    A subclass answers in `answer`; whatever it raises becomes a 500 and is logged. *latency* is
    a range in seconds, waited before each answer without holding up others.
    """

    name: ClassVar[str] = "service"
    most_bytes: ClassVar[int] = MAX_BODY_BYTES
    """The largest body of a request that is taken."""

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
        self._server: asyncio.Server | None = None
        self._connections = Connections()

    @property
    def url(self) -> str:
        """Base URL, known once it listens."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def listen(self, port: int = 0) -> None:
        """Bind the loopback port (0: any free one) and serve on the running event loop."""
        self._connections.closed = False
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self._serve, self._connections, self.most_bytes),
            "127.0.0.1",
            port,
            backlog=BACKLOG,
            ssl=self.tls,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and end what still runs."""
        if self._server is None:
            return
        self._server.close()
        self._connections.closed = True
        served = filter(None, [one.drop() for one in tuple(self._connections)])
        await asyncio.gather(*served, return_exceptions=True)

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

    async def _serve(self, raw: Request) -> None:
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
        except (ClientLeft, asyncio.CancelledError):
            pass  # the client left, or the sandbox stops
        except Exception:
            traffic.errors += 1
            logger.exception("sandbox %s failed on %s %s", self.name, raw.method, raw.target)
            await self._last_word(raw)
        finally:
            traffic.in_flight -= 1

    async def _last_word(self, raw: Request) -> None:
        if raw.connection.begun:
            return
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
                exchange.raw.connection.reset()
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
                exchange.raw.connection.reset()
            case _:
                await self.send(exchange, answer)

    async def send(self, exchange: Exchange, answer: Answer) -> None:
        """Write the whole answer."""
        self.traffic.statuses[answer.status] += 1
        body = body_of(answer, exchange)
        self.traffic.bytes_out += len(body)
        await exchange.raw.connection.send(head_of(answer, exchange.raw), body)

    async def send_cut(self, exchange: Exchange, answer: Answer) -> None:
        """Promise the whole body, send half of it and hang up."""
        connection, body = exchange.raw.connection, body_of(answer, exchange)
        if len(body) < 2:
            connection.reset()
            return
        self.traffic.statuses[answer.status] += 1
        head, half = head_of(answer, exchange.raw), body[: len(body) // 2]
        self.traffic.bytes_out += len(half)
        await connection.send(head, half)
        connection.close()

    async def send_slowly(self, exchange: Exchange, answer: Answer, seconds: float) -> None:
        """Send the body in ten pieces over *seconds*."""
        connection, body = exchange.raw.connection, body_of(answer, exchange)
        self.traffic.statuses[answer.status] += 1
        self.traffic.bytes_out += len(body)
        await connection.write(head_of(answer, exchange.raw))
        piece = max(1, -(-len(body) // 10))
        for offset in range(0, len(body), piece):
            await asyncio.sleep(seconds / 10)
            await connection.write(body[offset : offset + piece])
        connection.finish()


def failure(fault: Fault) -> Answer:
    """Return the answer that says *fault*'s status."""
    headers = {"Retry-After": f"{fault.seconds:g}"} if fault.status == 429 else {}
    body = orjson.dumps({"error": {"code": str(fault.status), "message": fault.kind}})
    return Answer(fault.status, body, headers=headers)
