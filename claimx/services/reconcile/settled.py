"""
Reconcile from beat: one stretch of long settled time after the other, each of them once.

Two hours back nearly everything has ended, and what has not is in the ledger. A run takes the
stretch since the last one, two hours of it at most, so that it catches up after a pause at twice
the speed of time; what is older than a day by then is left out, and told. A ledger that knows of no
run, because it is new or was lost, begins a day back. It only looks.

What it costs, at 10 million events a day: an hour is 417,000 source rows, 84 queries, 21 pieces.
Each piece asks the ledger (40 scripts), and reads the ids of the files of ``claimx_events`` that
overlap its minutes. The media tables are read once: the rows since the stretch began, and all ids
of ``claimx_attachments``. The walk ends after four minutes wherever it is, and goes on there in
the next run.

The looks at the tables have no such end. Where they take longer than a worker lets a task live, or
more memory than it has, the run dies, and the next one would die likewise: after `MOST_TRIES` the
stretch is left out, which is told with the command that has no such bound.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from claimx.domain.cursors import Checkpoint
from claimx.domain.errors import Unavailable
from claimx.domain.times import MICROS_PER_SECOND, Micros, from_seconds, to_iso
from claimx.services.lease import Lease
from claimx.services.reconcile import notes
from claimx.services.reconcile.report import Ending, ReconcileReport
from claimx.services.reconcile.run import reconcile
from claimx.services.runtime import Runtime
from claimx.services.tries import Tries

log = structlog.get_logger(__name__)

CURSOR = "reconcile"
LEASE = "reconcile"
LEASE_SECONDS = 660.0  # longer than a task may run
BEHIND_SECONDS = 2 * 3600.0
FURTHEST_SECONDS = 26 * 3600.0
STRETCH_SECONDS = 2 * 3600.0
WALK_SECONDS = 240.0
MOST_TRIES = 3  # of one stretch; a worker may be told to end as well


def export(runtime: Runtime) -> None:
    """Set the gauges: how far beat has reconciled, and what it found. Raises Unavailable."""
    done = runtime.ledger.checkpoint(CURSOR)
    if done is not None:
        runtime.metrics.set("reconcile_until_seconds", done.source_time / MICROS_PER_SECOND)
    notes.export(runtime)


def reconcile_settled(
    runtime: Runtime, *, sleep: Callable[[float], None]
) -> ReconcileReport | None:
    """
    Look at the next stretch; None when another process is at it, Redis is away or nothing is due.

    What is off is a warning with the first ids and the command, a note for the status, and in the
    metrics. A run that fails, or is killed, is done again by the next one, `MOST_TRIES` times.
    """
    lease = Lease(runtime.gates, LEASE, runtime.holder, LEASE_SECONDS)
    try:
        if not lease.take():
            return None
        try:
            return _next_stretch(runtime, lease.fence, sleep)
        finally:
            lease.give_back()
    except Unavailable as error:
        log.warning("not reconciled; the next run tries again", error=str(error))
        return None


def _next_stretch(
    runtime: Runtime, fence: int, sleep: Callable[[float], None]
) -> ReconcileReport | None:
    done = runtime.ledger.checkpoint(CURSOR)
    end = from_seconds(runtime.now() - BEHIND_SECONDS)
    since = _begin(runtime, done.source_time + 1 if done else None)
    until = min(end, since + from_seconds(STRETCH_SECONDS))
    if until < since:
        return None
    tries = Tries(runtime.gates, CURSOR)
    if tries.died_in(_place(done)) >= MOST_TRIES:
        _leave_out(runtime, since, until)
        done = _move(runtime, done, until, fence)
        since, until = until + 1, min(end, until + from_seconds(STRETCH_SECONDS))
        if done is None or until < since:
            return None
    with tries.one(_place(done)):
        report = reconcile(
            runtime,
            since,
            until,
            sleep=sleep,
            lenient=True,
            seconds=WALK_SECONDS,
            following=True,
        )
    if report.ending in (Ending.COMPLETE, Ending.TIME):
        _move(runtime, done, report.until, fence)
    elif report.ending is Ending.FAILED:
        log.warning("not reconciled; the next run tries again", error=report.error)
    if note := notes.keep(runtime, report):
        log.warning(
            "reconcile found what must not be", off=note.counts, ids=note.ids, command=note.command
        )
    export(runtime)
    return report


def _move(
    runtime: Runtime, done: Checkpoint | None, until: Micros, fence: int
) -> Checkpoint | None:
    return runtime.ledger.store_page(CURSOR, done, until, [], fence)


def _place(done: Checkpoint | None) -> str:
    return str(done.source_time if done else None)


def _leave_out(runtime: Runtime, since: Micros, until: Micros) -> None:
    why = f"{MOST_TRIES} runs of workers died in it; their logs say why"
    note = notes.leave_out(runtime, since, until, why)
    log.warning("a stretch of time is not reconciled", reason=why, command=note.command)


def _begin(runtime: Runtime, wanted: Micros | None) -> Micros:
    furthest = from_seconds(runtime.now() - FURTHEST_SECONDS)
    if wanted is None or wanted >= furthest:
        return furthest if wanted is None else wanted
    log.warning(
        "a stretch of time is not reconciled: nobody did in time",
        command=f"claimx reconcile --from {to_iso(wanted)} --to {to_iso(furthest)}",
    )
    return furthest
