"""The tasks that are no stage of a record: poll, redrive, maintenance, and the operator's."""

from __future__ import annotations

import time
from typing import Any, NoReturn

import structlog
from celery import shared_task

from claimx.domain.errors import ErrorCategory, Unavailable
from claimx.domain.records import DeadFilter, Kind, Stage, records_named
from claimx.services.catch_up import catch_up as read_on
from claimx.services.dead_letters import requeue_matching
from claimx.services.maintain import maintain_lake
from claimx.services.poll import poll_once
from claimx.services.poll_report import note_end
from claimx.services.reconcile import reconcile_settled
from claimx.services.recover import recover_media
from claimx.services.redrive import redrive_once
from claimx.services.runtime import Runtime
from claimx.services.status import export_gauges
from claimx.tasks.base import ClaimXTask

log = structlog.get_logger(__name__)


@shared_task(base=ClaimXTask, bind=True, name="claimx.poll")
def poll(self: ClaimXTask, **_: Any) -> None:
    """Read the source once; two at a time are harmless (a lease with a fence)."""

    def read(runtime: Runtime) -> None:
        note_end(runtime.gates, poll_once(runtime, sleep=time.sleep))

    self.run_named("poll", read)


@shared_task(base=ClaimXTask, bind=True, name="claimx.catch_up")
def catch_up(self: ClaimXTask, **_: Any) -> None:
    """Read on in what the poll has set aside; otherwise next to nothing."""
    self.run_named("catch-up", lambda runtime: read_on(runtime, sleep=time.sleep))


@shared_task(base=ClaimXTask, bind=True, name="claimx.redrive")
def redrive(self: ClaimXTask, **_: Any) -> None:
    """Send hints for what is due, and tell how things stand; two at a time are harmless."""

    def tick(runtime: Runtime) -> None:
        redrive_once(runtime)
        export_gauges(runtime)

    self.run_named("redrive", tick)


@shared_task(base=ClaimXTask, bind=True, name="claimx.maintain")
def maintain(self: ClaimXTask, full: Any = False, **_: Any) -> None:
    """Compact and vacuum the tables, one maintainer at a time; *full* also clears leftovers."""

    def look_after(runtime: Runtime) -> None:
        lake: Any = runtime.lake  # upkeep is DeltaLake's own, beside the port
        try:
            maintain_lake(lake, runtime.gates, runtime.holder, full=bool(full))
        except Unavailable as error:
            runtime.metrics.add("failed", stage="maintenance", category=error.category.value)
            log.warning("maintenance ends; the next run goes on", reason=str(error))

    self.run_named("maintenance", look_after)


@shared_task(base=ClaimXTask, bind=True, name="claimx.recover")
def recover(self: ClaimXTask, **_: Any) -> None:
    """Fetch media again that a lost ledger had not finished; otherwise next to nothing."""
    self.run_named("recover", recover_media)


@shared_task(base=ClaimXTask, bind=True, name="claimx.reconcile")
def reconcile(self: ClaimXTask, **_: Any) -> None:
    """Hold source and tables against each other over settled time; two at a time are harmless."""
    self.run_named("reconcile", lambda runtime: reconcile_settled(runtime, sleep=time.sleep))


@shared_task(base=ClaimXTask, bind=True, name="claimx.sweep")
def sweep(self: ClaimXTask, **_: Any) -> None:
    """Remove cached files whose media are done."""
    self.run_named("sweep", lambda _: self.app.claimx_sweeper().sweep())


@shared_task(base=ClaimXTask, bind=True, name="claimx.admin.requeue_dead_letters")
def requeue_dead_letters(
    self: ClaimXTask,
    ids: Any = None,
    stage: str | None = None,
    category: str | None = None,
    error: str | None = None,
    kind: str | None = None,
    limit: int | None = None,
    from_stage: str | None = None,
    all: bool = False,  # noqa: A002 - the option's name
    **unknown: Any,
) -> None:
    """
    Requeue the dead letters that match, as ``claimx dlq requeue`` does.

    Needs *ids*, a filter, or *all*. What names something unknown, or nothing (a program's empty
    result), requeues nothing: half a filter would requeue too much. The log has the reason.
    """
    try:
        if unknown:
            _refuse(f"unknown: {', '.join(sorted(unknown))}")
        if all not in (True, False):
            _refuse("all must be true or false")
        if ids is None and not (
            all or any(one is not None for one in (stage, category, error, kind))
        ):
            _refuse("say which: ids, a filter, or all")
        match = DeadFilter(
            ids=() if ids is None else records_named(_ids_of(ids)),
            stage=None if stage is None else Stage(stage),
            category=None if category is None else ErrorCategory(category),
            error=None if error is None else _text_of(error),
            kind=None if kind is None else Kind(kind),
            limit=None if limit is None else _count_of(limit),
        )
        target = None if from_stage is None else Stage(from_stage)
    except (TypeError, ValueError) as problem:
        log.error("requeue refused", reason=str(problem))  # noqa: TRY400 - the caller's mistake
        return
    self.run_named("admin", lambda runtime: requeue_matching(runtime, match, target))


def _ids_of(ids: Any) -> list[str]:
    """Return a list of ids; an empty one is no wish for all, and a text is no list of letters."""
    if not isinstance(ids, list) or not ids or not {type(one) for one in ids} <= {str}:
        _refuse("ids must be a list of ids, of one at least")
    found: list[str] = ids
    return found


def _text_of(error: Any) -> str:
    if not isinstance(error, str) or not error:
        _refuse("error must be the name of an error's class")
    return str(error)


def _count_of(limit: Any) -> int:
    if int(limit) < 1:
        _refuse("limit must be 1 at least")
    return int(limit)


def _refuse(reason: str) -> NoReturn:
    raise ValueError(reason)
