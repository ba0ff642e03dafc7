"""Calls through a proxy of the environment: what the proxy says is no answer of the host."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress

import pytest
from certificates import self_signed

from claimx.adapters.curl import CurlCalls
from claimx.adapters.curl_answer import Reply
from claimx.adapters.curl_handle import CallLimits, Request
from claimx.domain.errors import Unavailable

pytestmark = pytest.mark.integration

CONFLICT = (
    b"HTTP/1.1 409 Conflict\r\nx-ms-error-code: PathAlreadyExists\r\nContent-Length: 0\r\n\r\n"
)


class Proxy:
    """A proxy that lets everybody through to the host of this machine, or *denies* all."""

    def __init__(self, denies: bytes = b"") -> None:
        self.denies = denies
        self.asked: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.partition(b"\r\n")[0])
        if self.denies:
            writer.write(b"HTTP/1.1 " + self.denies + b"\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        host, _, port = head.split()[1].decode().partition(":")
        there, back = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 here\r\n\r\n")
        await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.CancelledError):
            while some := await reader.read(65536):
                writer.write(some)
        writer.close()


async def host(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request with a refusal of OneLake's."""
    with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(CONFLICT)
    writer.close()


@pytest.fixture
def tls(tmp_path, monkeypatch):
    """Return a context whose certificate is trusted here."""
    certificate = self_signed(tmp_path / "host.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


def asked_through(proxy, tls, monkeypatch, *, by_tls=False, exempt="", times=1) -> list[Reply]:
    """Return the answers of a host that is reached through *proxy*."""

    async def run() -> list[Reply]:
        origin = await asyncio.start_server(host, "127.0.0.1", 0, ssl=tls)
        between = await asyncio.start_server(proxy, "127.0.0.1", 0, ssl=tls if by_tls else None)
        here, there = (one.sockets[0].getsockname()[1] for one in (between, origin))
        for name in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"{'https' if by_tls else 'http'}://127.0.0.1:{here}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, exempt)
        calls = CurlCalls("host", CallLimits(5.0, 1000, by_proxy=True), connections=2)
        request = Request(f"https://127.0.0.1:{there}/a", [], b"", "PUT")
        try:
            return [await calls.call(request) for _ in range(times)]
        finally:
            await calls.close()
            origin.close()
            between.close()

    return asyncio.run(run())


@pytest.mark.parametrize("by_tls", [False, True], ids=["http", "https"])
def test_the_answer_is_the_hosts_and_not_the_proxys(tls, monkeypatch, by_tls):
    """Each step of an upload would seem to have gone well, whatever OneLake said."""
    proxy = Proxy()

    replies = asked_through(proxy, tls, monkeypatch, by_tls=by_tls, times=3)

    assert [one.status for one in replies] == [409] * 3
    assert replies[0].header("x-ms-error-code") == "PathAlreadyExists"
    assert replies[0].header("Via") is None
    assert len(proxy.asked) == 1  # and the connection was kept
    assert proxy.asked[0].startswith(b"CONNECT ")


@pytest.mark.parametrize("status", [b"403 Forbidden", b"407 Who are you", b"404 No", b"502 Bad"])
def test_a_proxy_that_lets_nobody_through_says_nothing_of_the_file(tls, monkeypatch, status):
    """Taken for OneLake's, a 407 would have sent every file to the dead letters."""
    with pytest.raises(Unavailable):
        asked_through(Proxy(status), tls, monkeypatch)


def test_a_host_that_needs_no_proxy_is_asked_without(tls, monkeypatch):
    proxy = Proxy(b"502 Bad Gateway")

    assert asked_through(proxy, tls, monkeypatch, exempt="127.0.0.1")[0].status == 409
    assert proxy.asked == []
