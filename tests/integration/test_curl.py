"""Short calls over libcurl against real servers on loopback."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import certifi
import pycurl
import pytest
import uvloop
from certificates import self_signed
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from claimx.adapters.curl import CurlCalls
from claimx.adapters.curl_answer import Reply
from claimx.adapters.curl_handle import CallLimits, Request
from claimx.cli.stack import free_port
from claimx.domain.errors import Unavailable, Unreadable

pytestmark = pytest.mark.integration

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Host:
    """A server that sends what it is told for each request, and counts connections."""

    def __init__(self, *answers: bytes, then_close: bool = False) -> None:
        self.answers = list(answers) or [OK]
        self.then_close = then_close
        self.connections = 0
        self.requests: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
                break
            self.requests.append(head)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            writer.write(answer)
            if self.then_close:
                break
        writer.close()


@asynccontextmanager
async def serving(peer: Peer, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    server = await asyncio.start_server(peer, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        server.close()


@asynccontextmanager
async def client(*, seconds: float = 5.0, most: int = 50_000) -> AsyncIterator[CurlCalls]:
    calls = CurlCalls("host", CallLimits(seconds, most), connections=8)
    try:
        yield calls
    finally:
        await calls.close()


def ask(peer: Peer, **options: float) -> Reply:
    """Return what one call of *peer* brings."""

    async def run() -> Reply:
        async with serving(peer) as url, client(**options) as calls:
            return await calls.call(Request(url, ["Accept: application/json"]))

    return asyncio.run(run())


@pytest.mark.parametrize("run_in", [asyncio.run, uvloop.run])
def test_connections_are_kept_between_calls_and_used_again(run_in):
    """A new connection for each call would cost more than the call."""
    host = Host()

    async def run() -> None:
        async with serving(host) as url, client() as calls:
            for _ in range(5):
                await asyncio.gather(*(calls.call(Request(url, [])) for _ in range(4)))

    run_in(run())

    assert len(host.requests) == 20
    assert host.connections <= 4


def test_a_get_after_a_post_is_a_get_again():
    """Handles are used again; nothing of one call may reach the next."""
    host = Host()

    async def run() -> None:
        async with serving(host) as url, client() as calls:
            await calls.call(Request(url, ["Content-Type: application/json"], b""))
            await calls.call(Request(url, []))

    asyncio.run(run())

    assert host.requests[0].startswith(b"POST ")
    assert host.requests[1].startswith(b"GET ")
    assert b"content-" not in host.requests[1].lower()


def test_a_compressed_answer_comes_decompressed_and_bounded():
    """What counts is what it becomes in memory: a few kilobytes may become gigabytes."""

    def packed(body: bytes) -> bytes:
        small = gzip.compress(body)
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(small)}\r\n\r\n"
        return head.encode() + small

    assert ask(Host(packed(b'{"a": 1}'))).body == b'{"a": 1}'
    named = b"HTTP/1.1 200 OK\r\nContent-Encoding: UTF-8\r\nContent-Length: 2\r\n\r\n{}"
    assert ask(Host(named)).body == b"{}"
    with pytest.raises(Unreadable, match="longer than 50000 bytes"):
        ask(Host(packed(b" " * 10_000_000)))


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 999999999\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n" + (b"4000\r\n" + b"x" * 0x4000 + b"\r\n") * 20,
        b"Content-Length: 100\r\n\r\ncut short",
    ],
)
def test_a_refusal_is_told_whatever_its_body_does(rest):
    """An error page that never ends must not hide the error, nor hold the call up."""
    head = b"HTTP/1.1 503 Service Unavailable\r\nRETRY-AFTER: 7\r\n"

    reply = ask(Host(head + rest, then_close=True))

    assert (reply.status, reply.is_success, reply.header("Retry-After")) == (503, False, "7")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", Unavailable),
        (b"220 mail.example.com ESMTP\r\n", Unavailable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", Unreadable),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", Unreadable),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", Unreadable),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", Unreadable),
    ],
)
def test_what_is_no_whole_answer_is_an_error_that_names_the_host(answer, error):
    with pytest.raises(error) as caught:
        ask(Host(answer, then_close=True))

    assert caught.value.host == "host"


def test_a_refusal_whose_body_does_not_come_holds_nobody_up():
    """The circuit must hear of it, and the slot serve another call, long before the time-out."""
    head = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 100\r\n\r\n"

    async def run() -> Reply:
        async with serving(Host(head)) as url, client(seconds=600.0) as calls, asyncio.timeout(60):
            return await calls.call(Request(url, []))

    assert asyncio.run(run()).status == 503


@pytest.mark.parametrize("then_close", [True, False])
@pytest.mark.parametrize("status", [b"200 OK", b"401 Unauthorized", b"404 Not Found"])
def test_half_a_head_says_nothing(status, then_close):
    """Believed, a 404 would send an event to the dead letters, and a 401 shut the door."""
    half = b"HTTP/1.1 " + status + b"\r\nContent-Type: app"

    with pytest.raises(Unavailable):
        ask(Host(half, then_close=then_close), seconds=0.3)


def test_an_interim_answer_is_not_the_answer():
    early = b"HTTP/1.1 103 Early Hints\r\nRetry-After: 99\r\n\r\n"

    reply = ask(Host(early + OK))

    assert (reply.status, reply.content_type, reply.body) == (200, "application/json", b"{}")
    assert reply.header("Retry-After") is None


def test_what_comes_after_the_body_changes_nothing():
    """A trailer is no head, whatever it looks like."""
    head = b"HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n"
    trailer = b"HTTP/1.1: 200 OK\r\nRetry-After: 9\r\n\r\n"

    reply = ask(Host(head + b"2\r\n{}\r\n0\r\n" + trailer))

    assert (reply.status, reply.header("Retry-After")) == (503, None)


class Deaf(asyncio.SelectorEventLoop):
    """A loop in which libcurl hears of no time-out while it is *deaf*."""

    deaf = False

    def call_later(self, delay, callback, *args, **options):
        if self.deaf and "AsyncCurlMulti" in getattr(callback, "__qualname__", ""):
            callback, args = (lambda: None), ()
        return super().call_later(delay, callback, *args, **options)


def test_a_call_ends_where_libcurl_has_lost_its_time_out_and_the_next_goes_well():
    """As after an exception that a signal raised in one of libcurl's callbacks."""

    async def run() -> Reply:
        loop = asyncio.get_running_loop()
        async with serving(Host(b"")) as silent, serving(Host()) as url, client(seconds=0.3) as one:
            loop.deaf = True
            with pytest.raises(Unavailable, match="in time"):
                async with asyncio.timeout(60):
                    await one.call(Request(silent, []))
            loop.deaf = False
            return await one.call(Request(url, []))

    with asyncio.Runner(loop_factory=Deaf) as runner:
        assert runner.run(run()).body == b"{}"


def test_the_charset_of_an_answer_is_told():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Type: "

    assert ask(Host(head + b'Text/JSON; Charset="ISO-8859-1"\r\n\r\n{')).charset == "ISO-8859-1"
    assert ask(Host(head + b"\xff\xfe\r\n\r\n{")).charset is None


def test_a_call_ends_at_its_time_out_whether_it_waits_for_head_or_body():
    for answer in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"):
        with pytest.raises(Unavailable, match="in time"):
            ask(Host(answer), seconds=0.1)


@pytest.mark.parametrize(
    "url", ["http://ü.example.com", "http://[::1", "http://a b/", "http://127.0.0.1:99999/", ""]
)
def test_what_is_no_url_is_unavailable(url):
    """Only the setting can be at fault: no event must go to the dead letters for it."""

    async def run() -> None:
        async with client() as calls:
            await calls.call(Request(url, []))

    with pytest.raises(Unavailable):
        asyncio.run(run())


@pytest.mark.parametrize("run_in", [asyncio.run, uvloop.run])
def test_a_cancelled_call_leaves_the_others_and_the_next_alone(run_in):
    """A chunk that must end cancels its calls; the next one has the same client."""
    slow = Host(b"")

    async def run() -> Reply:
        async with serving(slow) as silent, serving(Host()) as url, client() as calls:
            stopped = [asyncio.ensure_future(calls.call(Request(silent, []))) for _ in range(5)]
            await asyncio.sleep(0.05)
            for call in stopped:
                call.cancel()
            replies = await asyncio.gather(*(calls.call(Request(url, [])) for _ in range(20)))
            assert all(call.cancelled() for call in stopped)
            return replies[-1]

    assert run_in(run()).body == b"{}"


def test_proxies_of_the_environment_are_not_asked(monkeypatch):
    """The token would go to whoever listens there; the vendor's address is the setting's."""
    nobody = f"http://127.0.0.1:{free_port()}"
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, nobody)

    assert ask(Host()).status == 200


def test_closing_twice_is_closing_once():
    async def run() -> None:
        async with client() as calls:
            await calls.close()

    asyncio.run(run())


def test_only_a_certificate_that_python_trusts_here_is_trusted(tmp_path, monkeypatch):
    """The wheel's own idea of where certificates lie is another system's."""
    certificate = self_signed(tmp_path / "host.pem")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)

    async def run() -> Reply:
        async with serving(Host(), tls) as url, client() as calls:
            return await calls.call(Request(url, []))

    with pytest.raises(Unavailable, match="no trusted TLS connection"):
        asyncio.run(run())
    for file, folder in (
        (certificate, tmp_path / "none"),
        (tmp_path / "none", trusted_folder(certificate)),
    ):
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        monkeypatch.setenv("SSL_CERT_DIR", str(folder))
        assert asyncio.run(run()).body == b"{}"


def test_without_any_list_of_the_systems_it_is_certifis(tmp_path, monkeypatch):
    """A slim image has none; the vendor must be reachable from it all the same."""
    certificate = self_signed(tmp_path / "host.pem")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "empty"))

    async def run() -> Reply:
        async with serving(Host(), tls) as url, client() as calls:
            return await calls.call(Request(url, []))

    with pytest.raises(Unavailable, match=f"curl {pycurl.E_PEER_FAILED_VERIFICATION}"):
        asyncio.run(run())  # a list that could not be read is another error
    monkeypatch.setattr(certifi, "where", lambda: str(certificate))
    assert asyncio.run(run()).body == b"{}"


def trusted_folder(certificate: Path) -> Path:
    """Return a folder with the certificate, under the name by which OpenSSL looks for it."""
    folder = certificate.parent / "trusted"
    folder.mkdir()
    made = x509.load_pem_x509_certificate(certificate.read_bytes())
    # of the subject's canonical form, which a name in lower case is but for its frame
    digest = hashlib.sha1(made.subject.public_bytes()[2:], usedforsecurity=False).digest()
    name = f"{int.from_bytes(digest[:4], 'little'):08x}.0"
    (folder / name).write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return folder
