"""
The one Celery task class: options stand here once, and every run gets its process's runtime.

Retry, waiting and burial are not Celery's here: a stage settles each record in the ledger, and a
chunk with records that come again ends in Celery's RETRY state without a message of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar

import structlog
from celery import Task
from celery.exceptions import Retry

from claimx.services.runtime import Runtime
from claimx.tasks.workshop import Workshop

log = structlog.get_logger(__name__)


class ClaimXTask(Task):  # type: ignore[misc]  # celery publishes no types
    """Base of every ``claimx.*`` task. The app carries ``runtime``, set by the entry point."""

    abstract = True
    acks_late = True
    ignore_result = True
    max_retries = 0  # the ledger retries; see claimx.domain.retry
    typing: ClassVar[bool] = False  # a message of the wrong shape is answered by the task, in words
    autoretry_for = ()

    @property
    def runtime(self) -> Runtime:
        """Return this process's runtime, built on first use (after the fork)."""
        factory: Callable[[], Runtime] = self.app.claimx_runtime
        return factory()

    @property
    def workshop(self) -> Workshop:
        """Return what this process does its chunks with."""
        factory: Callable[[], Workshop] = self.app.claimx_workshop
        return factory()

    def run_named(self, name: str, run: Callable[[Runtime], Any]) -> None:
        """
        Run *run* with the runtime, timed and logged as *name*: its stage's, or its own.

        Raises Celery's Retry when records of the chunk come again, so that Flower shows it.
        """
        runtime = self.runtime
        started = time.monotonic()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(stage=name, task_id=self.request.id)
        try:
            outcome = run(runtime)
        finally:
            runtime.metrics.observe("stage_seconds", time.monotonic() - started, stage=name)
            structlog.contextvars.clear_contextvars()
        if again := getattr(outcome, "again", 0):
            raise Retry(f"{again} records come again by the ledger")


def chunk_of(ids: Any) -> list[str]:
    """
    Return the record ids of a hint; anything that is not a list of text is dropped with a line.

    A hint carries nothing that matters, so a malformed one costs nothing.
    """
    if isinstance(ids, str):
        ids = [ids]
    if not isinstance(ids, list):
        log.warning("hint is not a list of record ids", got=type(ids).__name__)
        return []
    known = [item for item in ids if isinstance(item, str)]
    if len(known) != len(ids):
        log.warning("hint holds items that are no record ids", dropped=len(ids) - len(known))
    return known[:5000]  # a bound on what a forged message can ask for
