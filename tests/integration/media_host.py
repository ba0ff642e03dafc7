"""A media host of raw bytes on loopback, and the fetcher that asks it."""

import asyncio
import time
from contextlib import asynccontextmanager
from urllib.parse import urlencode

from claimx.adapters.media_http import HTTPMediaFetcher
from claimx.adapters.memory.gates import MemoryGates
from claimx.domain.changes import MediaItem
from claimx.settings import DEFAULT_EXTENSIONS
from claimx.telemetry.metrics import RecordedMetrics

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(range(256)) * 20
NOW = time.time()


def answer(body=JPEG, status=200, length=None, **headers):
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Host:
    """
    A media host: *answers* by path, each the raw bytes or a function of the request's head.

    After the bytes the connection is closed when *closing*.
    """

    def __init__(self, closing=True):
        self.answers = {}
        self.requests = []
        self.closing = closing
        self.port = 0

    async def serve(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.requests.append(head)
                path = head.split(" ")[1].partition("?")[0]
                found = self.answers.get(path, answer(b"", 404))
                parts = found(head) if callable(found) else found
                for part in [parts] if isinstance(parts, bytes) else parts:
                    if isinstance(part, float):
                        await asyncio.sleep(part)
                    else:
                        writer.write(part)
                        await writer.drain()
                if self.closing:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def link(self, path="/photo.jpg", *, signed=False, host="127.0.0.1"):
        query = {"systemDate": int(NOW * 1000), "expires": 3_600_000, "sign": "SECRET"}
        return f"http://{host}:{self.port}{path}" + (f"?{urlencode(query)}" if signed else "")


def fetch(
    cache, path="/photo.jpg", *, signed=False, closing=True, answers=None, name=None, **options
):
    """Serve *answers*, fetch one path of it, and return (file, host) or raise what it raised."""

    async def run():
        async with serving(closing) as host:
            host.answers.update(answers(host) if callable(answers) else answers or {})
            link = options.pop("link", None) or host.link(path, signed=signed)
            fetcher = a_fetcher(cache, **options)
            try:
                return await fetcher.fetch(an_item(link, name)), host
            finally:
                await fetcher.close()

    return asyncio.run(run())


@asynccontextmanager
async def serving(closing=True):
    host = Host(closing)
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()


def a_fetcher(cache, **options):
    values = {
        "gates": MemoryGates(time.monotonic),
        "metrics": RecordedMetrics(),
        "allowed_hosts": ["127.0.0.1"],
        "allowed_extensions": DEFAULT_EXTENSIONS,
        "max_bytes": 1 << 20,
        "allow_loopback": True,
        "idle_seconds": 0.5,
        "now": lambda: NOW,
    }
    return HTTPMediaFetcher(cache, **(values | options))


def an_item(link, name=None, **values):
    return MediaItem("99", "4711", "e1", 0, link, file_name=name, **values)


def left_behind(cache):
    return [path.name for path in cache.folder.iterdir()]


def cut_once(body, tag='"v1"', second=None):
    """Answer the half, and the rest when it is asked for."""
    half = len(body) // 2
    whole = answer(body, ETag=tag)

    def reply(head):
        if "Range:" not in head:
            return whole[: len(whole) - half]
        rest = body[-half:]
        span = f"bytes {len(body) - half}-{len(body) - 1}/{len(body)}"
        return second or answer(rest, 206, Content_Range=span, ETag=tag)

    return reply
