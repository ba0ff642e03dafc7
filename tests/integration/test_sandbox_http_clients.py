"""Clients that do not read, leave, or ask for more than was bargained for."""

from __future__ import annotations

import socket
import ssl
import time

import pytest
from http_echo import GET, LOOPS, MEBI, SOCKET_BUFFERS, content, until

from claimx.sandbox.connection import CHUNK_BYTES

pytestmark = pytest.mark.integration


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
