"""
What claimx itself costs: CPU an event through all stages, when there is nothing to do for it.

Events of a type without a handler go through poll, ingest, enrich and the lake writer, and end as a
row of ``claimx_events``. In it is the CPU of beat, worker and writer from the moment that the
source has the rows to the commit of the last one: Kusto's client, the ledger's client, Celery,
parsing, hints, leases, the row itself, and what runs beside (redriver, announcements, metrics,
logs). Not in it are calls, handlers, media with their three stages, Redis, and the start of the
processes: a first wave of such events comes before, so that they have imported what they need.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from claimx.domain.errors import Unavailable
from pipelines import claimx_run
from pipelines.commits import CommitLog
from pipelines.job import EVENTS, Job
from pipelines.measure import LOOK_SECONDS, REDIS, SANDBOX, emptied
from pipelines.processes import Meter, processes
from pipelines.sandbox import sandbox

WARM_EVENTS = 2000
WARM_SECONDS = 20  # for processes to start and the first wave to be through
_WARM_HOURS = 60 / 3600  # the first wave lies in the minute before the second


@dataclass(frozen=True)
class Cost:
    """Microseconds of CPU an event, Redis apart, and events a second over all."""

    events: int
    us_per_event: float
    redis_us_per_event: float
    rate: float


def run(folder: Path, events: int, seconds: float) -> Cost:
    """Measure it; raises Unavailable when it takes longer than *seconds*."""
    emptied(folder)
    at = int(time.time()) + WARM_SECONDS
    more = ("--backlog", str(WARM_EVENTS), "--backlog-hours", str(_WARM_HOURS), "--at", str(at))
    with sandbox(folder / "sandbox", events, "nothing", *more) as told:
        job = Job.on(told, folder, events=events, files=0, seconds=seconds)
        with processes(folder, dict(job.environment)) as stack:
            claimx_run.start(stack, job)
            meter = Meter({process.pid: name for name, process in stack.started})
            log = CommitLog(job.lake / EVENTS)
            _until(log, WARM_EVENTS, at)
            time.sleep(max(0.0, at - time.time()))
            meter.look()
            before = meter.cpu
            _until(log, WARM_EVENTS + events, at + seconds)
            meter.look()
            ended = log.points[-1][0]
            used = {name: cpu - before.get(name, 0.0) for name, cpu in meter.cpu.items()}
    redis = used.pop(REDIS, 0.0)
    used.pop(SANDBOX, None)
    return Cost(
        events,
        us_per_event=1e6 * sum(used.values()) / events,
        redis_us_per_event=1e6 * redis / events,
        rate=events / (ended - at),
    )


def _until(log: CommitLog, rows: int, deadline: float) -> None:
    while log.read() < rows:
        if time.time() > deadline:
            raise Unavailable(f"{log.rows} of {rows} rows when time was up; see {log.table}")
        time.sleep(LOOK_SECONDS)
