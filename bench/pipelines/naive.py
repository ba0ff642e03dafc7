"""The straightforward Celery application (`pipelines.naive_app`), on both cores."""

from __future__ import annotations

import sys
import time
from typing import Any

import redis

from claimx.domain.errors import Unavailable
from pipelines.job import Job
from pipelines.measure import Run, measured
from pipelines.processes import Processes

WORKERS = 2  # processes; threads of one share its lock
START_SECONDS = 60.0
_LISTENING = "_kombu.binding.celery.pidbox"  # where a worker enters itself once it is up


def run(job: Job) -> Run:
    """Run it until everything is committed."""
    return measured("naive", job, lambda stack: _start(stack, job))


def _start(stack: Processes, job: Job) -> None:
    url = stack.start_redis()
    stack.environment["BENCH_JOB"] = str(job.save())
    app = [sys.executable, "-m", "celery", "-A", "pipelines.naive_app"]
    worker = [*app, "worker", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    threads = max(1, job.in_flight // WORKERS)
    for number in range(WORKERS):
        stack.run(
            f"worker-{number}",
            [*worker, "-n", f"work{number}@%h", "-Q", "work", "-P", "threads", "-c", str(threads)],
        )
    stack.run("consumer", [*worker, "-n", "write@%h", "-Q", "write", "-P", "solo"])
    _wait(stack, url)
    stack.run("poll", [*app, "call", "naive.poll", "--queue", "work"])


def _wait(stack: Processes, url: str) -> None:
    """Wait until all are up, or the last one's start would be a part of the run."""
    client: Any = redis.Redis.from_url(url)
    deadline = time.monotonic() + START_SECONDS
    while int(client.scard(_LISTENING)) < WORKERS + 1:
        stack.check()
        if time.monotonic() > deadline:
            raise Unavailable(f"the naive application did not start; see {stack.folder / 'logs'}")
        time.sleep(0.05)
    client.close()
