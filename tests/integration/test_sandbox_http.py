"""The sandbox's HTTP, byte by byte: what a server must do, and what it must do wrong on request."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import ssl
import threading
import time

import pytest
import uvloop
from certificates import self_signed

from claimx.sandbox.connection import CHUNK_BYTES, COPIED_BYTES, MAX_HEAD_BYTES
from claimx.sandbox.exchange import Answer, json_answer
from claimx.sandbox.faults import Fault, FaultPlan
from claimx.sandbox.http import Service

pytestmark = pytest.mark.integration

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


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return self_signed(tmp_path_factory.mktemp("tls") / "server.pem")


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=["asyncio", "uvloop", "uvloop tls"])
def running(request, certificate):
    loop, _, tls = request.param.partition(" ")
    it = Running(LOOPS[loop], certificate if tls else None)
    yield it
    it.stop()


def told(answer):
    assert answer[0] == 200
    return json.loads(answer[2])


def test_a_connection_serves_one_request_after_another(running):
    client = running.client()

    for size in (0, 1, COPIED_BYTES, COPIED_BYTES + 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * MEBI):
        status, headers, body = client.ask(GET % b"/bytes/%d" % size)

        assert (status, body) == (200, content(size))
        assert headers == {
            "content-length": str(size),
            "content-type": "application/octet-stream",
        }


def test_a_request_is_taken_apart(running):
    answer = running.client().ask(
        b"GET /a%20b/%C3%A4?x=1&y=&x=%2B+2&z HTTP/1.1\r\nHost: x\r\nAccept: one\r\naCCept: two\r\n"
        b"X-Empty:\r\nX-Latin: \xe4\r\nX-Spaced:  in the midst \t\r\n\r\n"
    )

    assert told(answer) == {
        "method": "GET",
        "path": "/a b/ä",
        "query": {"x": "+ 2", "y": "", "z": ""},
        "headers": {
            "host": "x",
            "accept": "one,two",
            "x-empty": "",
            "x-latin": "ä",
            "x-spaced": "in the midst",
        },
        "accept": "one,two",
        "sha256": hashlib.sha256(b"").hexdigest(),
    }


def test_a_request_in_single_bytes_is_the_same(running):
    whole = b"POST /x?y=z HTTP/1.1\r\nHost: x\r\nX-Long: abc\r\nContent-Length: 4\r\n\r\nbody"

    at_once, in_bytes = running.client(whole), running.client()
    for one in whole:
        in_bytes.socket.sendall(bytes((one,)))
        time.sleep(0.001)  # so that each comes alone

    assert in_bytes.answer() == at_once.answer()


def test_requests_that_come_together_are_answered_in_their_order(running):
    client = running.client(b"".join(GET % b"/bytes/%d" % size for size in range(300)))

    assert [client.answer()[2] for _ in range(300)] == [content(size) for size in range(300)]


@pytest.mark.parametrize("size", [0, 1, 70_000, Echo.most_bytes])
def test_bodies_come_whole_with_a_length(running, size):
    body = content(size)

    answer = running.client().ask(
        b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (size, body)
    )

    assert told(answer)["sha256"] == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 70_000, 2 * MEBI])
def test_bodies_come_whole_in_chunks(running, size):
    body = content(size)
    chunks = [body[at : at + 50_000] for at in range(0, size, 50_000)]
    client = running.client(b"PUT /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")

    for one in chunks:
        client.socket.sendall(b"%x;extension\r\n%s\r\n" % (len(one), one))
    answer = client.ask(b"0\r\nTrailer: passed over\r\n\r\n")

    assert told(answer)["sha256"] == hashlib.sha256(body).hexdigest()
    assert "trailer" not in told(answer)["headers"]
    assert client.ask(GET % b"/bytes/2")[2] == content(2)


def test_a_body_that_waits_to_be_asked_for_is_asked_for(running):
    """Curl holds back what is larger than a megabyte for a second otherwise."""
    client = running.client(
        b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-Continue\r\n\r\n"
    )

    assert client.head() == (100, {})
    assert told(client.ask(b"body"))["sha256"] == hashlib.sha256(b"body").hexdigest()


def test_a_body_that_waits_behind_an_answer_is_asked_for_after_it(running):
    """Its client would wait for ever: the 100 that it was not sent at once never came."""
    client = running.client(GET % b"/wait/1")
    running.service.waiting.wait(20)
    client.socket.sendall(
        b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    )
    time.sleep(0.1)  # so that it is there before the answer
    running.open_gate()

    assert client.answer()[2] == b"1"
    assert client.head() == (100, {})
    assert told(client.ask(b"body"))["sha256"] == hashlib.sha256(b"body").hexdigest()


@pytest.mark.parametrize("more", [b"Expect: 100-continue", b"Connection: upgrade\r\nUpgrade: h2c"])
def test_a_body_that_is_too_large_is_refused_unread(running, more):
    client = running.client(
        b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n\r\n"
        % (Echo.most_bytes + 1, more)
    )

    assert client.answer()[0] == 413
    assert client.at_end()
    assert running.service.traffic.requests == 0


def test_chunks_without_an_end_are_refused(running):
    client = running.client(b"PUT /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")

    refused(client, b"10000\r\n" + bytes(0x10000) + b"\r\n", Echo.most_bytes, 413)


def test_a_head_without_an_end_is_refused(running):
    client = running.client(b"GET / HTTP/1.1\r\nX: ")

    refused(client, b"y" * 1000, MAX_HEAD_BYTES, 431)


def refused(client, piece, limit, status):
    """Send far beyond *limit*: the answer is *status*, unless the reset behind it was faster."""
    try:
        for _ in range(0, limit + SOCKET_BUFFERS, len(piece)):
            client.socket.sendall(piece)
        assert client.answer()[0] == status
    except (ConnectionError, ssl.SSLError):
        pass


@pytest.mark.parametrize(
    "wrong",
    [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/9\r\n\r\n",
        b"PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"PUT / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nBad Name: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused_behind_the_answers_that_are_owed(running, wrong):
    client = running.client(GET % b"/bytes/3" + GET % b"/bytes/4" + wrong)

    assert [client.answer()[2] for _ in range(2)] == [content(3), content(4)]
    assert client.answer()[0] == 400
    assert client.at_end()
    assert running.service.traffic.requests == 2


def test_a_head_asks_for_no_body(running):
    client = running.client()
    client.socket.sendall(b"HEAD /bytes/500 HTTP/1.1\r\nHost: x\r\n\r\n")

    assert client.answer("HEAD")[1]["content-length"] == "500"
    assert client.ask(GET % b"/bytes/2")[2] == content(2)


@pytest.mark.parametrize("status", [204, 304])
def test_some_answers_have_no_body_and_say_no_length(running, status):
    client = running.client()

    assert client.ask(GET % b"/status/%d" % status) == (status, {}, b"")
    assert client.ask(GET % b"/bytes/2")[2] == content(2)


@pytest.mark.parametrize(
    ("version", "asked", "answered", "ends"),
    [
        (b"1.1", b"", None, False),
        (b"1.1", b"Connection: close\r\n", "close", True),
        (b"1.0", b"", "close", True),
        (b"1.0", b"Connection: keep-alive\r\n", "keep-alive", False),
    ],
)
def test_a_connection_stays_open_as_the_client_wishes(running, version, asked, answered, ends):
    client = running.client()

    found = client.ask(b"GET /bytes/1 HTTP/%s\r\nHost: x\r\n%s\r\n" % (version, asked))

    assert found[1].get("connection") == answered
    if ends:
        assert client.at_end()
    else:
        assert client.ask(GET % b"/bytes/2")[2] == content(2)


def test_a_failure_of_the_sandbox_is_a_500_and_the_connection_goes_on(running):
    client = running.client()

    for path in (b"/fail/x", b"/header?value=a%0d%0ax:y", b"/header?value=%e2%82%ac"):
        assert client.ask(GET % path)[0] == 500
    assert client.ask(GET % b"/bytes/2")[2] == content(2)
    assert running.service.traffic.errors == 3


def test_a_failure_within_an_answer_ends_the_connection(running):
    """A second head inside the body would be taken for its bytes."""
    client = running.client(GET % b"/half/x")

    assert client.head()[0] == 200
    assert client.file.read() == b"1"


# On purpose.


def spoil(running, kind, **more):
    running.plan.add(Fault.parse({"where": "api", "kind": kind, "count": 1, **more}), 0.0)


@pytest.mark.parametrize("kind", ["reset", "done_reset"])
def test_a_reset_is_one(running, kind):
    """
    A crashed peer gives an error, and a closed connection only the end of its stream.

    Python's TLS hides the difference, so this looks below it.
    """
    spoil(running, kind)
    client = running.client(GET % b"/bytes/10")

    with pytest.raises(ConnectionResetError):
        list(iter(lambda: client.wire.recv(MEBI), b""))
    running.settled()
    assert running.client().ask(GET % b"/bytes/2")[2] == content(2)


@pytest.mark.parametrize("size", [2, 1000, 4 * MEBI])
def test_a_cut_answer_ends_in_its_middle(running, size):
    spoil(running, "cut")
    client = running.client(GET % b"/bytes/%d" % size)

    assert client.head()[1]["content-length"] == str(size)
    assert client.file.read() == content(size)[: size // 2]


@pytest.mark.parametrize("kind", ["trickle", "slow"])
def test_a_late_answer_comes_whole_in_its_time(running, kind):
    spoil(running, kind, seconds=0.3)
    client = running.client()
    began = time.monotonic()

    assert client.ask(GET % b"/bytes/1000")[2] == content(1000)
    assert time.monotonic() - began > 0.25
    assert client.ask(GET % b"/bytes/2")[2] == content(2)


def test_a_slow_answer_holds_up_no_other_connection(running):
    spoil(running, "slow", seconds=600)
    running.client(GET % b"/bytes/3")
    until(lambda: running.service.traffic.in_flight)

    assert running.client().ask(GET % b"/bytes/2")[2] == content(2)


@pytest.mark.parametrize("kind", ["trickle", "cut"])
@pytest.mark.parametrize(
    ("asked", "status"), [(b"HEAD /bytes/500", 200), (b"GET /status/204", 204)]
)
def test_what_has_no_body_has_none_when_it_is_spoilt(running, kind, asked, status):
    """A body behind such a head would be taken for the next answer."""
    spoil(running, kind, seconds=0.1)
    client = running.client(asked + b" HTTP/1.1\r\nHost: x\r\n\r\n")

    if kind == "trickle":
        assert client.head()[0] == status
        assert client.ask(GET % b"/bytes/2")[2] == content(2)
    else:
        with pytest.raises(ConnectionResetError):
            list(iter(lambda: client.wire.recv(MEBI), b""))


# Who takes more than was bargained for.


def test_a_client_that_does_not_read_fills_no_memory(running):
    size = 64 * MEBI
    client = running.client(GET % b"/bytes/%d" % size)
    until(lambda: running.held() > 0)
    time.sleep(0.2)  # as much as it takes without being read

    assert running.held() < 4 * CHUNK_BYTES
    assert client.answer()[2] == content(size)


def test_what_comes_while_a_request_is_served_is_left_where_it_is(running):
    client = running.client(GET % b"/wait/1")
    running.service.waiting.wait(20)
    client.socket.settimeout(0.5)

    with pytest.raises(TimeoutError):
        client.socket.sendall(GET % b"/bytes/1" * (SOCKET_BUFFERS // len(GET)))
    assert running.service.traffic.requests == 1


def test_a_request_is_carried_out_though_its_client_left(running):
    """A vendor does what it was asked for, whether or not anybody hears of it."""
    client = running.client(GET % b"/wait/it")
    running.service.waiting.wait(20)
    client.leave()
    running.open_gate()
    running.settled()

    assert running.service.done == ["it"]
    assert running.service.traffic.errors == 0


@pytest.mark.parametrize("running", LOOPS, indirect=True)
@pytest.mark.parametrize("paths", [[b"/wait/1"], [b"/bytes/67108864"], [b"/wait/1", b"/bytes/4"]])
def test_a_client_that_has_no_more_to_ask_gets_its_answers(running, paths):
    """As ``nc`` does at the end of its input; in TLS nobody can end one way alone."""
    client = running.client(b"".join(GET % path for path in paths))
    client.socket.shutdown(socket.SHUT_WR)
    time.sleep(0.1)  # so that it is seen
    running.open_gate()

    for path in paths:
        size = int(path.rpartition(b"/")[2])
        assert client.answer()[2] == (b"1" if path == b"/wait/1" else content(size))
    assert client.at_end()
    running.settled()


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", b"PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf"]
)
def test_a_client_may_leave_before_it_has_asked(running, sent):
    client = running.client(sent)
    until(lambda: running.service._connections)
    client.leave()
    running.settled()

    assert running.service.traffic.requests == 0


def test_a_client_may_leave_within_an_answer(running):
    client = running.client(GET % b"/bytes/%d" % (64 * MEBI))
    client.head()
    client.leave()
    running.settled()

    assert running.service.traffic.errors == 0


def test_closing_ends_every_connection(running):
    idle, served, sending = (
        running.client(GET % path) for path in (b"/bytes/1", b"/wait/1", b"/bytes/67108864")
    )
    assert idle.answer()[0] == sending.head()[0] == 200
    running.service.waiting.wait(20)

    running.call(running.service.close())

    running.settled()
    for client in (idle, served, sending):
        assert ended(client)
    assert running.service.done == []
    with pytest.raises(ConnectionRefusedError):
        running.client()


def test_a_connection_that_was_not_made_yet_is_ended_as_well(running):
    """In TLS it is made when the two ends trust each other, which may be after the close."""
    plain = socket.create_connection(("127.0.0.1", running.service.port), timeout=20)
    time.sleep(0.1)  # so that it is accepted

    running.call(running.service.close())

    with pytest.raises((OSError, EOFError)):  # noqa: PT012, SIM117 - see the end of it
        with tls_over(plain, running) as connected:
            connected.sendall(GET % b"/bytes/1")
            if not connected.recv(1):
                raise EOFError
    running.settled()
    assert running.service.traffic.requests == 0


def tls_over(plain, running):
    if not running.service.tls:
        return plain
    context = ssl.create_default_context(cafile=running._trusted)
    return context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_a_request_that_comes_with_the_close_is_forgotten(running):
    client = running.client()
    until(lambda: running.service._connections)

    async def both():
        (one,) = running.service._connections
        one.data_received(GET % b"/wait/1")
        await running.service.close()

    running.call(both())

    running.settled()
    assert ended(client)


def ended(client):
    try:
        return len(client.file.read()) < 64 * MEBI
    except OSError:
        return True
