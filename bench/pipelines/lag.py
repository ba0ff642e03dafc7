"""
How long a source row takes to a committed row of ``claimx_events``, at a steady rate, in claimx.

From the row's ingestion time to the commit of the data file that holds the event, as the table's
log has it. The first seconds, in which processes import what they need, are left out. The events
are those of the mix without media; the poll interval is that of `pipelines.claimx_run`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from claimx.domain.errors import Unavailable
from claimx.sandbox.world import World
from pipelines import claimx_run
from pipelines.commits import CommitLog
from pipelines.curve import quantile
from pipelines.job import EVENTS, Job
from pipelines.measure import LOOK_SECONDS, REDIS, SANDBOX, emptied
from pipelines.processes import Meter, processes
from pipelines.sandbox import sandbox

HEAD_SECONDS = 15  # for processes to start
SKIPPED_SECONDS = 10


@dataclass(frozen=True)
class Lag:
    """Seconds at *rate* events a second; *cores* are those that claimx used meanwhile."""

    rate: float
    p50: float
    p95: float
    p99: float
    most: float
    cores: float


def run(folder: Path, rate: int, steady_seconds: int, patience: float) -> Lag:
    """
    Measure it, with *patience* for the last row.

    Raises Unavailable when rows are missing then, or are others than they must be.
    """
    emptied(folder)
    span = SKIPPED_SECONDS + steady_seconds
    at = int(time.time()) + HEAD_SECONDS + rate * span // 5000  # making the world takes time
    events = rate * span
    with sandbox(
        folder / "sandbox", events, "no-media", "--rate", str(rate), "--at", str(at)
    ) as told:
        job = Job.on(told, folder, events=events, files=0, seconds=span + patience)
        with processes(folder, dict(job.environment)) as stack:
            claimx_run.start(stack, job)
            meter = Meter({process.pid: name for name, process in stack.started})
            log = CommitLog(job.lake / EVENTS)
            time.sleep(max(0.0, at + SKIPPED_SECONDS - time.time()))
            meter.look()
            before, begin = _used(meter), time.time()
            while log.read() < events:
                if time.time() > at + job.seconds:
                    raise Unavailable(f"{log.rows} of {events} rows when time was up")
                time.sleep(LOOK_SECONDS)
                meter.look()
            cores = (_used(meter) - before) / (time.time() - begin)
        committed = _committed(log)
    world = World(**told["world"])
    _refuse_wrong(log, committed, {event.key for event in world.events})
    lags = [
        committed[event.key] - event.ingestion.timestamp()
        for event in world.events
        if event.ingestion and event.ingestion.timestamp() >= at + SKIPPED_SECONDS
    ]
    return Lag(
        rate,
        p50=quantile(lags, 0.50),
        p95=quantile(lags, 0.95),
        p99=quantile(lags, 0.99),
        most=max(lags),
        cores=cores,
    )


def _refuse_wrong(log: CommitLog, committed: dict[str, float], wanted: set[str]) -> None:
    """Raise Unavailable unless each event is one row: a doubled one hides one that is missing."""
    if missing := wanted - committed.keys():
        raise Unavailable(f"{len(missing)} events are no row, such as {min(missing)}")
    if log.rows != len(wanted):
        raise Unavailable(f"{log.rows} rows for {len(wanted)} events")


def _used(meter: Meter) -> float:
    return sum(cpu for name, cpu in meter.cpu.items() if name not in (REDIS, SANDBOX))


def _committed(log: CommitLog) -> dict[str, float]:
    """Return when each event was committed."""
    return {
        str(event_id): moment
        for path, moment in log.files.items()
        for event_id in pq.read_table(log.table / path, columns=["event_id"], partitioning=None)
        .column("event_id")
        .to_pylist()
    }
