"""What an upload that failed holds of its chunks: nothing, without a look of the collector."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import time
import tracemalloc
from contextlib import suppress

import pytest

from claimx.adapters.credentials import Credentials
from claimx.adapters.memory.gates import MemoryGates
from claimx.adapters.onelake import DataLakeStore
from claimx.domain.errors import ClaimXError

pytestmark = pytest.mark.integration

ROOT = "abfss://ws@onelake.dfs.fabric.microsoft.com/lh/Files"
CHUNK = bytes(4_000_000)
CREATED = b'HTTP/1.1 201 Created\r\nETag: "1"\r\nContent-Length: 0\r\n\r\n'
REFUSALS = {
    "silent": b"",
    "closed": b"",
    "refused": b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
    "refused, and its body does not come": b"HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\n",
    "odd": b"HTTP/1.1 202 Accepted\r\nContent-Length: x\r\n\r\n",
}


class Host:
    """Takes a file's name, and then *fails* when its content comes."""

    def __init__(self, fails: str) -> None:
        self.fails = fails
        self.chunks = 0
        self.came = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while (await reader.readuntil(b"\r\n\r\n")).startswith(b"PUT"):
                writer.write(CREATED)
            self.chunks += 1
            self.came.set()
            writer.write(REFUSALS[self.fails])
            if self.fails != "closed":
                await asyncio.sleep(60)
        writer.close()


@pytest.mark.parametrize("fails", [*REFUSALS, "late", "cancelled"])
def test_an_upload_that_failed_holds_no_chunk(tmp_path, fails):
    """
    Chunks have megabytes, and the collector looks seldom (`claimx.garbage`).

    While OneLake is away, uploads of large files fail side by side, one after another.
    """
    source = tmp_path / "source"
    source.write_bytes(CHUNK)
    digest = hashlib.sha256(CHUNK).hexdigest()
    host = Host(fails if fails in REFUSALS else "silent")
    seconds = 0.3 if fails == "late" else 30.0

    async def run() -> int:
        server = await asyncio.start_server(host, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        access = Credentials([url]).storage_access(url)
        gates = MemoryGates(time.monotonic)
        store = DataLakeStore(
            url, ROOT, lambda: access, gates, read_seconds=1.0, total_seconds=seconds
        )

        async def put() -> None:
            with suppress(ClaimXError):
                await store.put("a.jpg", str(source), len(CHUNK), digest, "image/jpeg")

        task = asyncio.create_task(put())
        if fails == "cancelled":
            await host.came.wait()
            task.cancel()
        await asyncio.wait([task])
        del task
        for _ in range(50):  # the thread that read it has its turn soon
            held = tracemalloc.get_traced_memory()[0]
            if held < len(CHUNK):
                break
            await asyncio.sleep(0.1)
        await store.close()
        server.close()
        return held

    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        assert asyncio.run(run()) < len(CHUNK)
    finally:
        tracemalloc.stop()
        gc.enable()
    assert host.chunks
