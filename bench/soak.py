"""
Hours of work in minutes, and whether anything grows: ``make bench-soak``.

Half a million events (every twentieth a file of 20 KB) through the real beat, worker and writer, as
fast as they go. Every two seconds memory, open files and threads of each process are looked at, and
Redis's memory. Ends with one line of JSON: what the largest process of each kind had early
and late, in medians (`pipelines.vitals`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import redis
from pipelines import claimx_run
from pipelines.commits import CommitLog
from pipelines.job import EVENTS, Job
from pipelines.measure import MARKER, emptied
from pipelines.processes import Meter, processes
from pipelines.sandbox import sandbox
from pipelines.vitals import Sample, growth, sampled

LOOK_SECONDS = 2.0
LINE_SECONDS = 30.0
IN_FLIGHT = 20_000  # so that Redis is in its steady state soon


def main(arguments: list[str] | None = None) -> int:
    """Run it; 0 when everything came through in time."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--minutes", type=float, default=45.0, help="at most")
    parser.add_argument("--folder", type=Path, default=Path("var/bench-soak"))
    options = parser.parse_args(arguments)
    emptied(options.folder)
    with sandbox(options.folder / "sandbox", options.events, "long") as told:
        job = Job.on(
            told,
            options.folder,
            events=options.events,
            files=options.events // 20,
            seconds=options.minutes * 60,
        )
        line = soaked(job)
    (options.folder / MARKER).touch()
    shutil.rmtree(options.folder / "files", ignore_errors=True)
    print(json.dumps(line))
    return 0 if line["done"] == options.events else 1


def soaked(job: Job) -> dict[str, Any]:
    """Work until all is done or the time is up; returns the line."""
    samples: list[Sample] = []
    memory: list[tuple[float, float]] = []  # events done, bytes of Redis
    with processes(job.folder, dict(job.environment)) as stack:
        stack.environment["CLAIMX_MAX_IN_FLIGHT"] = str(IN_FLIGHT)
        claimx_run.start(stack, job)
        client: Any = redis.Redis.from_url(stack.environment["REDIS_URL"])
        meter = Meter({process.pid: name for name, process in stack.started})
        log = CommitLog(job.lake / EVENTS)
        begun = told = time.monotonic()
        done = 0
        while done < job.events and time.monotonic() - begun < job.seconds:
            time.sleep(LOOK_SECONDS)
            stack.check()
            done = log.read()
            meter.look()
            samples.append(sampled(done / job.events, meter.names))
            memory.append((done, float(client.info("memory")["used_memory"])))
            if time.monotonic() - told > LINE_SECONDS:
                told = time.monotonic()
                print(f"{told - begun:6.0f} s  {done:>8} events", file=sys.stderr, flush=True)
        seconds = time.monotonic() - begun
    early = next(one for one in memory if one[0] >= 0.3 * job.events or one is memory[-1])
    late = next(one for one in memory if one[0] >= 0.9 * job.events or one is memory[-1])
    return {
        "events": job.events,
        "done": done,
        "seconds": round(seconds),
        "rate": round(done / seconds),
        "redis_mb": [round(one[1] / 2**20, 1) for one in (early, late)],
        # what is kept of an event that is done: the memory of its id
        "redis_bytes_an_event": round((late[1] - early[1]) / max(1, late[0] - early[0])),
        "growth": growth(samples),
    }


if __name__ == "__main__":
    sys.exit(main())
