"""The straightforward Celery application (`pipelines.naive_app`), on both cores."""

from __future__ import annotations

import sys

from pipelines.job import Job
from pipelines.measure import Run, measured
from pipelines.processes import Processes

WORKERS = 2  # processes; threads of one share its lock


def run(job: Job) -> Run:
    """Run it until everything is committed."""
    return measured("naive", job, lambda stack: _start(stack, job))


def _start(stack: Processes, job: Job) -> None:
    stack.start_redis()
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
    stack.run("poll", [*app, "call", "naive.poll", "--queue", "work"])
