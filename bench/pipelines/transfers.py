"""
Files from a media host into a cache and from there into OneLake, several of each side by side.

By aiohttp alone, or by claimx' fetcher and store with everything that they check. Each runs in a
process of its own (``python -m pipelines.transfers HOW JOB``) and says as JSON how it went.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from yarl import URL

from claimx.adapters.cache import DiskCache
from claimx.adapters.credentials import Credentials
from claimx.adapters.media_http import HTTPMediaFetcher
from claimx.adapters.memory.gates import MemoryGates
from claimx.adapters.onelake import make_store
from claimx.domain.changes import MediaItem
from claimx.domain.ports.media import CachedFile
from claimx.telemetry.metrics import RecordedMetrics

PIECE = 1024 * 1024
APPENDED = 8 * PIECE  # at a time: nobody holds a film in memory


@dataclass(frozen=True, slots=True)
class Transfers:
    """
    *files* of *size* bytes each from *host* (a URL) to *endpoint*, by way of *folder*.

    So many are downloaded, and as many uploaded, *side_by_side*.
    """

    host: str
    endpoint: str
    root: str
    folder: str
    size: int
    files: int
    name: str
    side_by_side: int

    def save(self) -> Path:
        """Write it where the process can read it."""
        path = Path(self.folder) / "transfers.json"
        path.write_text(json.dumps(asdict(self)))
        return path


Fetch = Callable[[int], Awaitable[Any]]
Put = Callable[[int, Any], Awaitable[None]]


async def through(job: Transfers, fetch: Fetch, put: Put) -> dict[str, float]:
    """
    Bring every file through.

    Returns when it began and ended (by the machine's monotonic clock), CPU seconds, and megabytes
    above those before.
    """
    waiting: asyncio.Queue[tuple[int, Any] | None] = asyncio.Queue(2 * job.side_by_side)
    numbers = iter(range(1, job.files + 1))

    async def download() -> None:
        for number in numbers:
            await waiting.put((number, await fetch(number)))

    async def upload() -> None:
        while (one := await waiting.get()) is not None:
            await put(*one)

    await put(0, await fetch(0))  # imports, connections
    idle, cpu, begun = _peak(), time.process_time(), time.monotonic()
    async with asyncio.TaskGroup() as uploads:
        for _ in range(job.side_by_side):
            uploads.create_task(upload())
        async with asyncio.TaskGroup() as downloads:
            for _ in range(job.side_by_side):
                downloads.create_task(download())
        for _ in range(job.side_by_side):
            await waiting.put(None)
    ended, cpu = time.monotonic(), time.process_time() - cpu
    return {"begun": begun, "ended": ended, "cpu": cpu, "mb": _peak() - idle}


def _peak() -> float:
    """Return the greatest resident size so far, in megabytes."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


async def by_aiohttp(job: Transfers) -> dict[str, float]:
    """The least that does it: no check of what came, of where from, or of what is there."""
    threads = ThreadPoolExecutor(4)
    loop = asyncio.get_running_loop()
    container = f"{job.endpoint}/{job.root.split('//')[1].split('@')[0]}"
    folder = Path(job.folder)

    async with aiohttp.ClientSession(read_bufsize=PIECE // 2) as session:
        (await session.put(URL(f"{container}?resource=filesystem", encoded=True))).release()

        async def fetch(number: int) -> Path:
            path = folder / f"{number}.jpg"
            async with session.get(f"{job.host}/{_size(job, number)}/{number}.jpg") as response:
                response.raise_for_status()
                with path.open("wb") as file:
                    async for piece in _pieces(response):
                        await loop.run_in_executor(threads, file.write, piece)
            return path

        async def put(number: int, path: Path) -> None:
            url = f"{container}/{job.name}/{number}.jpg"
            await _send(session, "PUT", f"{url}?resource=file")
            position = 0
            with path.open("rb") as file:
                while body := await loop.run_in_executor(threads, file.read, APPENDED):
                    await _send(session, "PATCH", f"{url}?action=append&position={position}", body)
                    position += len(body)
            await _send(session, "PATCH", f"{url}?action=flush&position={position}")
            await loop.run_in_executor(threads, path.unlink)

        return await through(job, fetch, put)


async def _pieces(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    buffer = bytearray()
    async for chunk in response.content.iter_any():
        buffer += chunk
        if len(buffer) >= PIECE:
            yield bytes(buffer)
            buffer.clear()
    yield bytes(buffer)


async def _send(session: aiohttp.ClientSession, method: str, url: str, body: bytes = b"") -> None:
    async with session.request(method, URL(url, encoded=True), data=body) as response:
        response.raise_for_status()


async def by_claimx(job: Transfers) -> dict[str, float]:
    """Claimx' own fetcher, cache and store, with all that they check."""
    gates, metrics = MemoryGates(time.time), RecordedMetrics()
    cache = DiskCache(Path(job.folder) / "cache", 1 << 40, spare_bytes=0)
    fetcher = HTTPMediaFetcher(
        cache,
        gates,
        metrics,
        allowed_hosts=["127.0.0.1"],
        allowed_extensions=["jpg"],
        max_bytes=1 << 40,
        allow_loopback=True,
    )
    credentials = Credentials([job.endpoint])
    store = make_store(
        job.root,
        job.endpoint,
        lambda: credentials.storage_access(job.endpoint),
        gates,
    )

    async def fetch(number: int) -> CachedFile:
        link = f"{job.host}/{_size(job, number)}/{number}.jpg"
        return await fetcher.fetch(MediaItem(str(number), "7", "e", 0, link, f"{number}.jpg"))

    async def put(number: int, cached: CachedFile) -> None:
        source, place = cache.path(cached.name), f"{job.name}/{number}.jpg"
        await store.put(place, source, cached.bytes, cached.sha256, cached.content_type)
        await asyncio.to_thread(cache.remove, cached.name)

    found = await through(job, fetch, put)
    await fetcher.close()
    await store.close()
    return found


def _size(job: Transfers, number: int) -> int:
    return job.size if number else 1000  # the first, before the clock runs


HOW = {"aiohttp": by_aiohttp, "claimx": by_claimx}


if __name__ == "__main__":
    asked = Transfers(**json.loads(Path(sys.argv[2]).read_text()))
    print(json.dumps(uvloop.run(HOW[sys.argv[1]](asked))))
