"""
The floor: one asyncio program that does the work and nothing else.

aiohttp, uvloop and orjson; no queue, no ledger, no upsert, no sync to disk: a crash loses what is
under way, and running it again doubles every row. Ids it has read and calls that failed are in its
memory alone. ``python -m pipelines.floor JOB``.
"""

from __future__ import annotations

import asyncio
import hashlib
import queue
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import aiohttp
import orjson
import uvloop
from yarl import URL

from claimx import garbage
from claimx.domain.names import blob_path
from pipelines import onelake
from pipelines.appending import Appender
from pipelines.calls import Call, Enriching, attachment, enrich
from pipelines.job import Job
from pipelines.measure import Run, measured
from pipelines.processes import Processes
from pipelines.rows import Found, Row
from pipelines.source import BEGIN, HEADERS, PAGE_ROWS, Event, page_of, question

DOWNLOADS = 32  # side by side; more do not help on loopback
FILE_THREADS = 2
TRIES = 7  # of an event
SERVER_ERROR = 500
RETRY_SECONDS = 1.0  # doubled each time
READ_BYTES = 1024 * 1024  # aiohttp's own 64 KiB pauses and resumes the transport for each file


def run(job: Job) -> Run:
    """Run the program in a process of its own."""

    def start(processes: Processes) -> None:
        processes.run("floor", [sys.executable, "-m", "pipelines.floor", str(job.save())])

    return measured("floor", job, start)


class _Begun(NamedTuple):
    """An event whose calls are under way; *call* is to be made again."""

    steps: Enriching
    call: Call | None = None
    tries: int = 1


class Floor:
    """The program; `run` returns when everything is in the tables."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._base = job.environment["CLAIMX_API_URL"]
        self._known: set[str] = set()
        self._read_ids: set[str] = set()
        self._events: asyncio.Queue[Event | _Begun | None] = asyncio.Queue(2 * PAGE_ROWS)
        self._failed: set[asyncio.Task[None]] = set()  # calls that wait to be made again
        self._open = 0  # events that are not done
        self._all_done = asyncio.Event()
        self._media: asyncio.Queue[Row | None] = asyncio.Queue(2 * PAGE_ROWS)
        self._rows: queue.SimpleQueue[Found | None] = queue.SimpleQueue()
        self._folders: set[Path] = set()
        self._threads = ThreadPoolExecutor(FILE_THREADS)

    async def run(self) -> None:
        """Read, ask, download and write, side by side."""
        loop = asyncio.get_running_loop()
        writing = loop.run_in_executor(ThreadPoolExecutor(1), self._write)
        try:
            async with self._session() as api, self._session(READ_BYTES) as media:
                await self._work(api, media)
        finally:
            self._rows.put(None)
            await writing

    @staticmethod
    def _session(buffer_bytes: int = 2**16) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=buffer_bytes,
            timeout=aiohttp.ClientTimeout(total=None),
        )

    async def _work(self, api: aiohttp.ClientSession, media: aiohttp.ClientSession) -> None:
        async with asyncio.TaskGroup() as downloads:
            for _ in range(DOWNLOADS):
                downloads.create_task(self._download(media))
            async with asyncio.TaskGroup() as calls:
                calls.create_task(self._read(media))
                for _ in range(self._job.in_flight):
                    calls.create_task(self._enrich(api))
            for _ in range(DOWNLOADS):
                await self._media.put(None)

    async def _read(self, session: aiohttp.ClientSession) -> None:
        after: str | None = BEGIN
        left = self._job.events
        seen = self._read_ids
        while after is not None and left > 0:
            url, body = question(self._job.environment, after)
            async with session.post(url, data=body, headers=HEADERS) as response:
                response.raise_for_status()
                events, after = page_of(await response.read())
            for event in events:
                if event.event_id not in seen:
                    seen.add(event.event_id)
                    self._open += 1
                    self._all_done.clear()
                    left -= 1
                    await self._events.put(event)
        await self._all_done.wait()
        for _ in range(self._job.in_flight):
            await self._events.put(None)

    async def _enrich(self, session: aiohttp.ClientSession) -> None:
        headers = {"Authorization": f"Basic {self._job.environment['CLAIMX_API_TOKEN']}"}
        while (event := await self._events.get()) is not None:
            begun = event if isinstance(event, _Begun) else _Begun(enrich(event, self._known))
            call, answer = begun.call, None
            try:
                while True:
                    call = call or begun.steps.send(answer)
                    data = None if call.body is None else orjson.dumps(call.body)
                    async with session.request(
                        "GET" if data is None else "POST",
                        URL(self._base + call.path, encoded=True),
                        data=data,
                        headers=headers,
                    ) as response:
                        if response.status >= SERVER_ERROR and begun.tries < TRIES:
                            self._try_later(begun, call)
                            break
                        response.raise_for_status()
                        answer, call = orjson.loads(await response.read()), None
                continue
            except StopIteration as done:
                found: Found = done.value
            self._open -= 1
            if not self._open:
                self._all_done.set()
            self._rows.put(found)
            if self._job.files:
                for name, row in found:
                    if name == "claimx_media" and row["link"]:
                        await self._media.put(row)

    def _try_later(self, begun: _Begun, call: Call) -> None:
        """Make a call again after a while; meanwhile others have its turn."""

        async def again() -> None:
            await asyncio.sleep(RETRY_SECONDS * 2.0 ** (begun.tries - 1))
            await self._events.put(begun._replace(call=call, tries=begun.tries + 1))

        task = asyncio.create_task(again())
        self._failed.add(task)
        task.add_done_callback(self._failed.discard)

    async def _download(self, session: aiohttp.ClientSession) -> None:
        loop = asyncio.get_running_loop()
        while (row := await self._media.get()) is not None:
            async with session.get(URL(row["link"], encoded=True)) as response:
                response.raise_for_status()
                body = await response.read()
            path = blob_path(row["project_id"], row["media_id"], row["file_name"], "")
            stored = await loop.run_in_executor(self._threads, self._keep, row, path, body)
            if self._job.onelake:
                await _upload(session, self._job, path, body)
            stored["content_type"] = response.content_type
            self._rows.put([attachment(row, stored)])

    def _keep(self, row: Row, path: str, body: bytes) -> Row:
        """Write the file to the cache, copy it where media go; returns what the row says of it."""
        cached = self._job.cache / row["media_id"]
        cached.write_bytes(body)
        if not self._job.onelake:
            target = self._job.files_folder / path
            if target.parent not in self._folders:
                target.parent.mkdir(parents=True, exist_ok=True)
                self._folders.add(target.parent)
            shutil.copyfile(cached, target)
        cached.unlink()
        sha256 = hashlib.sha256(body).hexdigest()
        return {"blob_path": path, "bytes": len(body), "sha256": sha256}

    def _write(self) -> None:
        appender = Appender(self._job.lake)
        while (found := self._rows.get()) is not None:
            appender.add(found)
        appender.flush()


async def _upload(session: aiohttp.ClientSession, job: Job, path: str, body: bytes) -> None:
    for request in onelake.requests_for(job.environment, path, body):
        async with session.request(
            request.method, URL(request.url, encoded=True), data=request.body
        ) as response:
            response.raise_for_status()


if __name__ == "__main__":
    garbage.settle()  # as claimx' processes do
    uvloop.run(Floor(Job.load(sys.argv[1])).run())
