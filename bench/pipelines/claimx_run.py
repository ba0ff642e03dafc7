"""
claimx: the Procfile's beat, worker and writer, and a Redis that keeps its append-only file.

Everything that costs is as in production. Different are what `bench/backlog.py` sets for a short
run, and how many calls may be under way at a time, which is every contender's alike.
"""

from __future__ import annotations

from typing import Any

import redis

from pipelines.job import Job
from pipelines.measure import Run, measured
from pipelines.processes import Processes

POLL_SECONDS = 5
TYPES = ("beat", "worker", "writer")
SETTINGS = {
    "CLAIMX_POLL_INTERVAL_SECONDS": str(POLL_SECONDS),
    "CLAIMX_POLL_START": "9m",  # the sandbox's rows lie in the last five minutes
    "CLAIMX_RETRY_BASE_SECONDS": "1",
    "CLAIMX_HEALTH_PORT": "0",
    "CLAIMX_LOG_FORMAT": "json",
}


def run(job: Job) -> Run:
    """Run it until everything is committed."""
    memory = Memory()

    def begin(stack: Processes) -> None:
        start(stack, job, memory)

    found = measured("claimx", job, begin, look=lambda _: memory.look())
    found.more |= memory.report()
    return found


def start(
    stack: Processes,
    job: Job,
    memory: Memory | None = None,
    types: tuple[str, ...] = TYPES,
) -> None:
    """Start Redis and the pipeline's process *types*."""
    url = stack.start_redis()
    if memory is not None:
        memory.watch(url)
    stack.environment.update(settings(job))
    stack.start_pipeline(types)


def settings(job: Job) -> dict[str, str]:
    """Return what the processes are started with, the stand-ins' addresses apart."""
    found = {**SETTINGS, **job.settings} | {
        "CLAIMX_API_CONCURRENCY": str(job.in_flight),
        "CLAIMX_LAKE_PATH": str(job.lake.resolve()),
        "CACHE_DIR": str(job.cache.resolve()),
    }
    if not job.onelake:
        found["ONELAKE_CLAIMX_PATH"] = str(job.files_folder.resolve())
    return found


class Memory:
    """What Redis holds for an event in flight: looked at while it runs."""

    def __init__(self) -> None:
        self._client: Any = None
        self._empty = 0
        self._most = (0, 0)  # records in flight, and bytes used then
        self._peak = 0

    def watch(self, url: str) -> None:
        """Begin, while nothing is in flight."""
        self._client = redis.Redis.from_url(url)
        self._empty = int(self._client.info("memory")["used_memory"])

    def look(self) -> None:
        """Look once."""
        used = int(self._client.info("memory")["used_memory"])
        counts = self._client.hmget("{claimx:0}:n", "k:event", "k:media")
        active = sum(int(count or 0) for count in counts)
        self._most = max(self._most, (active, used))
        self._peak = max(self._peak, used)

    def report(self) -> dict[str, float]:
        """Return what was seen."""
        active, used = self._most
        return {
            "redis_peak_mb": round(self._peak / 2**20, 1),
            "most_in_flight": active,
            "redis_bytes_in_flight": round((used - self._empty) / active) if active else 0,
        }
