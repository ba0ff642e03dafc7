"""One task a stage: a hint names records, the service settles each of them."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from claimx.services.ingest import ingest as ingest_pages
from claimx.tasks.base import ClaimXTask, chunk_of


@shared_task(base=ClaimXTask, bind=True, name="claimx.ingest")
def ingest(self: ClaimXTask, ids: Any = None, *_: Any, **__: Any) -> None:
    """Turn pages into event records."""
    self.run_named("ingest", lambda runtime: ingest_pages(runtime, chunk_of(ids)))


@shared_task(base=ClaimXTask, bind=True, name="claimx.enrich")
def enrich(self: ClaimXTask, ids: Any = None, *_: Any, **__: Any) -> None:
    """Ask the API for what is behind events."""
    self.run_named("enrich", lambda _: self.workshop.enrich(chunk_of(ids)))


@shared_task(base=ClaimXTask, bind=True, name="claimx.download")
def download(self: ClaimXTask, ids: Any = None, *_: Any, **__: Any) -> None:
    """Fetch media files into the cache."""
    self.run_named("download", lambda _: self.workshop.download(chunk_of(ids)))


@shared_task(base=ClaimXTask, bind=True, name="claimx.upload")
def upload(self: ClaimXTask, ids: Any = None, *_: Any, **__: Any) -> None:
    """Bring cached files into OneLake."""
    self.run_named("upload", lambda _: self.workshop.upload(chunk_of(ids)))


@shared_task(base=ClaimXTask, bind=True, name="claimx.record")
def record(self: ClaimXTask, ids: Any = None, *_: Any, **__: Any) -> None:
    """Make the attachment rows of uploaded media."""
    self.run_named("record", lambda _: self.workshop.record(chunk_of(ids)))
