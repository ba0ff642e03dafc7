"""
A Celery application as one writes it first: one message for each event and stage.

Stages are poll, enrich, download, upload and write; the last has one consumer, which appends rows
of several messages at a time, and what is left once the last one is there. Settings are Celery's
defaults. Messages are acknowledged before the work, rows wait in the consumer's memory, nothing is
retried.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import Any

from celery import Celery

from claimx.domain.names import blob_path
from pipelines import onelake
from pipelines.appending import Appender
from pipelines.calls import attachment
from pipelines.job import ATTACHMENTS, EVENTS, Job
from pipelines.rows import Found, Row
from pipelines.source import Event, pages
from pipelines.threaded import asked, session

app = Celery("naive", broker=os.environ.get("REDIS_URL"))
app.conf.task_ignore_result = True
app.conf.task_routes = {"naive.write": {"queue": "write"}, "naive.*": {"queue": "work"}}

_known: set[str] = set()


@app.task(name="naive.poll")
def poll() -> None:
    """Send a message for each event of the source."""
    job = _job()
    for page in pages(job.environment, job.events):
        for event in page:
            enrich_event.delay(list(event))


@app.task(name="naive.enrich")
def enrich_event(fields: list[Any]) -> None:
    """Ask the API for what is behind one event."""
    job = _job()
    found = asked(job, Event(*fields), _known)
    if job.files:
        for name, row in found:
            if name == "claimx_media" and row["link"]:
                download.delay(row)
    write.delay(found)


@app.task(name="naive.download")
def download(row: Row) -> None:
    """Bring a media file into the cache."""
    cached = _job().cache / row["media_id"]
    digest = hashlib.sha256()
    with (
        session().get(row["link"], stream=True, timeout=30) as response,
        cached.open("wb") as file,
    ):
        response.raise_for_status()
        for piece in response.iter_content(64 * 1024):
            file.write(piece)
            digest.update(piece)
        kind = response.headers["Content-Type"]
    upload.delay(row, {"content_type": kind, "sha256": digest.hexdigest()})


@app.task(name="naive.upload")
def upload(row: Row, stored: Row) -> None:
    """Copy a cached file to where media go."""
    job = _job()
    cached = job.cache / row["media_id"]
    path = blob_path(row["project_id"], row["media_id"], row["file_name"], "")
    stored |= {"blob_path": path, "bytes": cached.stat().st_size}
    if job.onelake:
        for request in onelake.requests_for(job.environment, path, cached.read_bytes()):
            session().request(
                request.method, request.url, data=request.body, timeout=30
            ).raise_for_status()
    else:
        target = job.files_folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(cached, target)
    cached.unlink()
    write.delay([attachment(row, stored)])


@app.task(name="naive.write")
def write(found: Found) -> None:
    """Keep rows until there are enough of them, or all."""
    buffer: _Buffer = _once("buffer", lambda: _Buffer(_job()))
    buffer.add(found)


class _Buffer:
    """
    An `Appender` that also appends what is left at the end.

    It knows the end as the floor does: to wait for it would be a tenth of so short a run.
    """

    def __init__(self, job: Job) -> None:
        self._appender = Appender(job.lake)
        self._left = {EVENTS: job.events, ATTACHMENTS: job.files}

    def add(self, found: Found) -> None:
        self._appender.add(found)
        for name, _ in found:
            if name in self._left:
                self._left[name] -= 1
        if not any(left > 0 for left in self._left.values()):
            self._appender.flush()


_kept: dict[str, Any] = {}


def _once(name: str, make: Any) -> Any:
    if name not in _kept:
        _kept[name] = make()
    return _kept[name]


def _job() -> Job:
    found: Job = _once("job", lambda: Job.load(os.environ["BENCH_JOB"]))
    return found
