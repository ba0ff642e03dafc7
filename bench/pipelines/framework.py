"""
What claimx itself costs: CPU an event through all stages, when there is nothing to do for it.

Events of a type without a handler go through poll, ingest, enrich and the lake writer, and end as a
row of ``claimx_events``. In it is the CPU of beat, worker and writer from the moment that the
source has the rows to the commit of the last one: Kusto's client, the ledger's client, Celery,
parsing, hints, leases, the row itself. What the same processes use while nothing comes (polls,
ticks, announcements, some tenth of a core) is taken off, and told apart.

Not in it are calls, handlers, media with their three stages, Redis, and the start of the processes:
a first wave of such events comes before, so that they have imported what they need.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from claimx.domain.errors import Unavailable
from pipelines import claimx_run
from pipelines.commits import CommitLog
from pipelines.job import EVENTS, Job
from pipelines.measure import LOOK_SECONDS, REDIS, emptied
from pipelines.processes import Meter, processes
from pipelines.sandbox import sandbox

WARM_EVENTS = 500
WARM_SECONDS = (28, 70)  # for processes to start and the first wave to be through; a second try
IDLE_SECONDS = 8.0  # at least, of nothing to do before the second wave
SETTLED_SECONDS = 2.0  # after the first wave's commit, for what follows it
_WARM_HOURS = 60 / 3600  # the first wave lies in the minute before the second


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
    """Measure it; raises Unavailable when the second wave takes longer than *seconds*."""
    for warm_seconds in WARM_SECONDS:
        if cost := _measured(folder, events, seconds, warm_seconds):
            return cost
    raise Unavailable(f"the processes were not warm after {WARM_SECONDS[-1]} s")


def _measured(folder: Path, events: int, seconds: float, warm_seconds: int) -> Cost | None:
    """Measure it, None when the processes were not idle in time before the second wave."""
    emptied(folder)
    at = int(time.time()) + warm_seconds
    more = ("--backlog", str(WARM_EVENTS), "--backlog-hours", str(_WARM_HOURS), "--at", str(at))
    with sandbox(folder / "sandbox", events, "nothing", *more) as told:
        job = Job.on(told, folder, events=events, files=0, seconds=seconds)
        with processes(folder, dict(job.environment)) as stack:
            claimx_run.start(stack, job)
            meter = Meter({process.pid: name for name, process in stack.started})
            log = CommitLog(job.lake / EVENTS)
            if not _reached(log, WARM_EVENTS, at - SETTLED_SECONDS - IDLE_SECONDS):
                return None
            time.sleep(SETTLED_SECONDS)
            idle_since, start = time.time(), _look(meter)
            time.sleep(max(0.0, at - time.time()))
            begun, before = time.time(), _look(meter)
            if not _reached(log, WARM_EVENTS + events, at + seconds):
                raise Unavailable(f"{log.rows} of {WARM_EVENTS + events} rows when time was up")
            ended, after = time.time(), _look(meter)
    idle = (before[0] - start[0]) / (begun - idle_since)
    gross = after[0] - before[0]
    return Cost(
        events,
        us_per_event=1e6 * (gross - idle * (ended - begun)) / events,
        gross_us_per_event=1e6 * gross / events,
        redis_us_per_event=1e6 * (after[1] - before[1]) / events,
        idle_cores=idle,
        rate=events / (log.points[-1][0] - at),
    )


def _look(meter: Meter) -> tuple[float, float]:
    """Return the CPU seconds of claimx and of Redis so far."""
    meter.look()
    redis = meter.cpu.get(REDIS, 0.0)
    return sum(meter.cpu.values()) - redis, redis


def _reached(log: CommitLog, rows: int, deadline: float) -> bool:
    while log.read() < rows:
        if time.time() > deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True
