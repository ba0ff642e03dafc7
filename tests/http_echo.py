"""The sandbox's HTTP over a service that repeats what it was asked; a client that sends bytes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import ssl
import threading
import time

import uvloop

from claimx.sandbox.exchange import Answer, json_answer
from claimx.sandbox.faults import FaultPlan
from claimx.sandbox.http import Service

MEBI = 1024 * 1024

SOCKET_BUFFERS = 32 * MEBI  # more than two ends of a loopback connection ever hold

GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"


class Echo(Service):
    """Answers by path; `gate` holds back what ``/wait`` asks for."""

    name = "api"
    most_bytes = 3 * MEBI

    def __init__(self, faults=None):
        super().__init__(faults)
        self.gate = asyncio.Event()
        self.waiting = threading.Event()
        self.done = []

    async def answer(self, exchange):
        what, _, number = exchange.path.lstrip("/").partition("/")
        match what:
            case "bytes":
                return Answer(200, content(int(number)), "application/octet-stream")
            case "status":
                return Answer(int(number), b"for nobody")
            case "wait":
                self.waiting.set()
                await self.gate.wait()
                self.done.append(number)
                return Answer(200, number.encode())
            case "fail":
                raise RuntimeError(number)
            case "half":
                connection = exchange.raw.connection
                await connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1")
                raise RuntimeError(number)
            case "header":
                return Answer(200, headers={"X-Bad": exchange.query["value"]})
            case _:
                told = {
                    "method": exchange.method,
                    "path": exchange.path,
                    "query": exchange.query,
                    "headers": dict(exchange.headers),
                    "accept": exchange.headers.get("ACCEPT"),
                    "sha256": hashlib.sha256(exchange.body).hexdigest(),
                }
                return json_answer(told)


def content(size):
    return bytes(range(251)) * (size // 251) + bytes(range(size % 251))


class Running:
    """A service on a loop in a thread, and the clients that the test has opened."""

    def __init__(self, new_loop, trusted):
        self._loop = new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._trusted = trusted
        self.plan = FaultPlan(1)
        self.service = self.call(self._begin())
        self._clients = []

    async def _begin(self):
        service = Echo(self.plan)
        if self._trusted:
            service.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            service.tls.load_cert_chain(self._trusted)
        await service.listen()
        return service

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    def open_gate(self):
        self._loop.call_soon_threadsafe(self.service.gate.set)

    def held(self):
        """Return how many bytes wait in the process for clients to take them."""

        async def count():
            return sum(c._transport.get_write_buffer_size() for c in self.service._connections)

        return self.call(count())

    def client(self, *sent):
        plain = socket.create_connection(("127.0.0.1", self.service.port), timeout=20)
        if self._trusted:
            context = ssl.create_default_context(cafile=self._trusted)
            plain = context.wrap_socket(plain, server_hostname="127.0.0.1")
        client = Client(plain)
        self._clients.append(client)
        for piece in sent:
            client.socket.sendall(piece)
        return client

    def settled(self):
        """Wait until nothing is served and every client that left is forgotten."""
        until(lambda: not self.service._connections and not self.service.traffic.in_flight)

    def stop(self):
        self.call(self.service.close())
        for client in self._clients:
            client.leave()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()


class Client:
    def __init__(self, connected):
        self.socket = connected
        self.file = connected.makefile("rb")
        self.wire = socket.socket(fileno=os.dup(connected.fileno()))  # below TLS, if there is any
        self.wire.settimeout(20)

    def head(self):
        status = int(self.file.readline().split()[1])
        lines = iter(lambda: self.file.readline().rstrip(b"\r\n").decode(), "")
        return status, dict(line.split(": ", 1) for line in lines)

    def answer(self, method="GET"):
        status, headers = self.head()
        if method == "HEAD" or status in (204, 304):
            return status, headers, b""
        return status, headers, self.file.read(int(headers["content-length"]))

    def ask(self, sent):
        self.socket.sendall(sent)
        return self.answer()

    def at_end(self):
        return self.file.read() == b""

    def leave(self):
        for one in (self.file, self.wire, self.socket):
            one.close()


def until(true):
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def told(answer):
    assert answer[0] == 200
    return json.loads(answer[2])
