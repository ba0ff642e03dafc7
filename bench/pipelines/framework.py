"""
What claimx itself costs: CPU an event through all stages, when there is nothing to do for it.

Events of a type without a handler go through poll, ingest, enrich and the lake writer, and end as a
row of ``claimx_events``. In it is the CPU of beat, worker and writer from the moment that the
source has the rows to the commit of the last one: Kusto's client, the ledger's client, Celery,
parsing, hints, leases, the row itself. What the same processes use while nothing comes (polls,
ticks, announcements, some tenth of a core) is taken off, and told apart.

Not in it are calls, handlers, media with their three stages, Redis, and the start of the processes:
a first wave of such events comes before.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from claimx.domain.errors import Unavailable
from pipelines import claimx_run
from pipelines.commits import CommitLog
from pipelines.job import EVENTS, Job
from pipelines.measure import LOOK_SECONDS, REDIS, SETTLED_SECONDS, emptied, release
from pipelines.mixes import HEAD_EVENTS
from pipelines.processes import Meter, processes
from pipelines.sandbox import sandbox

IDLE_SECONDS = 10.0  # of nothing to do before the second wave


@dataclass(frozen=True)
class Cost:
    """Microseconds of CPU an event, Redis apart; with what is used idle it is *gross*."""

    events: int
    us_per_event: float
    gross_us_per_event: float
    redis_us_per_event: float
    idle_cores: float
    rate: float


def run(folder: Path, events: int, seconds: float) -> Cost:
    """Measure it; raises Unavailable when it takes longer than *seconds*."""
    emptied(folder)
    deadline = time.time() + seconds
    more = ("--head", str(HEAD_EVENTS))
    with sandbox(folder / "sandbox", events, "nothing", *more) as told:
        job = Job.on(told, folder, events=events, files=0, seconds=seconds, head=HEAD_EVENTS)
        with processes(folder, dict(job.environment)) as stack:
            claimx_run.start(stack, job)
            meter = Meter({process.pid: name for name, process in stack.started})
            log = CommitLog(job.lake / EVENTS)
            _until(log, HEAD_EVENTS, deadline)
            time.sleep(SETTLED_SECONDS)
            start = _look(meter)
            time.sleep(IDLE_SECONDS)
            begun, before = time.time(), _look(meter)
            release(job)
            _until(log, HEAD_EVENTS + events, deadline)
            ended, after = time.time(), _look(meter)
    idle = (before[0] - start[0]) / IDLE_SECONDS
    gross = after[0] - before[0]
    return Cost(
        events,
        us_per_event=1e6 * (gross - idle * (ended - begun)) / events,
        gross_us_per_event=1e6 * gross / events,
        redis_us_per_event=1e6 * (after[1] - before[1]) / events,
        idle_cores=idle,
        rate=events / (log.points[-1][0] - begun),
    )


def _look(meter: Meter) -> tuple[float, float]:
    """Return the CPU seconds of claimx and of Redis so far."""
    meter.look()
    redis = meter.cpu.get(REDIS, 0.0)
    return sum(meter.cpu.values()) - redis, redis


def _until(log: CommitLog, rows: int, deadline: float) -> None:
    while log.read() < rows:
        if time.time() > deadline:
            raise Unavailable(f"{log.rows} of {rows} rows when time was up; see {log.table}")
        time.sleep(LOOK_SECONDS)
