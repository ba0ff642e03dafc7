"""Answers of the sandbox that are spoilt on purpose."""

from __future__ import annotations

import time

import pytest
from http_echo import GET, MEBI, content, until

from claimx.sandbox.faults import Fault

pytestmark = pytest.mark.integration


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
