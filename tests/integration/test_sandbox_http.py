"""The sandbox's HTTP, byte by byte: what a server must do, and what it must do wrong on request."""

from __future__ import annotations

import hashlib
import ssl
import time

import pytest
from http_echo import GET, MEBI, SOCKET_BUFFERS, Echo, content, told

from claimx.sandbox.connection import CHUNK_BYTES, COPIED_BYTES, MAX_HEAD_BYTES

pytestmark = pytest.mark.integration


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
