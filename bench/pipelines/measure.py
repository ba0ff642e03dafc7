"""
One contender's run, measured from outside and for every contender alike.

It begins with the first call that the stand-in API sees, so the start of processes is left out, and
ends with the commit that brings the last row. Processes that live for days and import what they
need on first use get a head of other events before it. Events a second are those between 10 % and
95 % of all rows of ``claimx_events`` and ``claimx_attachments``, by the times of the commits in the
tables' logs, with straight lines between them (`pipelines.curve`). CPU is that of all of a
contender's processes from the beginning to the end, Redis and the sandbox apart.

A run counts only if the lake then holds the keys and files that it must (`pipelines.complete`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from claimx.domain.errors import Unavailable
from pipelines.commits import CommitLog
from pipelines.complete import wait_for_all
from pipelines.curve import added, from_nothing, rate
from pipelines.job import ATTACHMENTS, EVENTS, Job
from pipelines.processes import Meter, Processes, processes

LOOK_SECONDS = 0.25
FIRST_CALL_SECONDS = 0.05  # so often the sandbox is asked for the first call
SETTLED_SECONDS = 2.0  # after the head's last commit, for what follows it
MARKER = ".claimx-bench"
REDIS, SANDBOX = "redis", "sandbox"


@dataclass
class Run:
    """What a contender did; times in seconds, memory in megabytes."""

    name: str
    events: int
    files: int
    started: float = 0.0
    """From the start of its processes to their first call, of the head if there is one."""
    seconds: float = 0.0
    """From its first call to its last commit."""
    rate: float = 0.0
    """Events a second between 10 % and 95 %."""
    cpu: float = 0.0
    redis_cpu: float = 0.0
    sandbox_cpu: float = 0.0
    calls: int = 0
    peaks: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    """What only this contender has to say."""


def measured(
    name: str,
    job: Job,
    start: Callable[[Processes], None],
    *,
    tables: Path | None = None,
    look: Callable[[Run], None] = lambda _: None,
) -> Run:
    """
    Start a contender and return its run.

    Raises Unavailable when it fails or takes too long, or when its lake is not what it must be.
    Its tables lie in the folder *tables*, by default the job's lake. *look* is called with the run
    so far, several times a second.
    """
    emptied(job.folder)
    run = Run(name, job.events, job.files)
    with processes(job.folder, dict(job.environment)) as stack:
        before = calls_of(job)
        started = time.time()
        start(stack)
        roots = {process.pid: called for called, process in stack.started}
        meter = Meter(roots | {job.sandbox_pid: SANDBOX})
        watch = _Watch(job, stack, meter, run, tables or job.lake)
        run.started = watch.until_call(before) - started
        if job.head:
            watch.until_head()
            before = calls_of(job)
            release(job)
            begin = watch.until_call(before)
        else:
            begin = started + run.started
        watch.until_done(begin, look)
        run.calls = calls_of(job) - before
        wait_for_all(job, tables or job.lake)
    return run


def emptied(folder: Path) -> None:
    """Empty the folder of a run; raises Unavailable for one that is not this benchmark's."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise Unavailable(f"{folder} is not empty and not this benchmark's")
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("lake", "files", "cache"):
        (folder / name).mkdir(parents=True)
    (folder / MARKER).touch()


def calls_of(job: Job) -> int:
    """Return how many calls the stand-in API has seen."""
    answer = requests.get(f"{job.control}/sandbox/stats", timeout=30)
    answer.raise_for_status()
    return int(answer.json()["services"]["api"]["requests"])


def release(job: Job) -> None:
    """Let the events behind the head be seen."""
    requests.post(f"{job.control}/sandbox/release", timeout=30).raise_for_status()


class _Watch:
    """Looks at tables and processes until the work is done."""

    def __init__(self, job: Job, stack: Processes, meter: Meter, run: Run, tables: Path) -> None:
        self._job = job
        self._stack = stack
        self._meter = meter
        self._run = run
        self._logs = [(CommitLog(tables / EVENTS), job.head, job.events)]
        if job.files:
            self._logs.append((CommitLog(tables / ATTACHMENTS), job.head_files, job.files))
        self._deadline = time.time() + job.seconds

    def until_call(self, before: int) -> float:
        """Wait for a call beyond those *before*; returns about when it was."""
        while calls_of(self._job) == before:
            self._check(FIRST_CALL_SECONDS)
        return time.time()

    def until_head(self) -> None:
        """Wait until the head is through and all is quiet."""
        while any(log.read() < head for log, head, _ in self._logs):
            self._check(LOOK_SECONDS)
        time.sleep(SETTLED_SECONDS)

    def until_done(self, begin: float, look: Callable[[Run], None]) -> None:
        """Wait for the last commit; fills in the run, which began at *begin*."""
        self._meter.look()
        cpu = self._meter.cpu
        while any(log.read() < head + rows for log, head, rows in self._logs):
            self._check(LOOK_SECONDS)
            self._meter.look()
            look(self._run)
        self._meter.look()
        self._fill(begin, cpu)

    def _check(self, pause: float) -> None:
        if name := self._stack.failed:
            raise Unavailable(f"{name} failed; see {self._stack.log_path(name)}")
        if time.time() > self._deadline:
            found = ", ".join(f"{log.rows} of {head + rows} rows" for log, head, rows in self._logs)
            raise Unavailable(
                f"{self._run.name} was not done after {self._job.seconds:g} s: {found};"
                f" see {self._stack.folder / 'logs'}"
            )
        time.sleep(pause)

    def _fill(self, begin: float, before: dict[str, float]) -> None:
        run, curves = self._run, []
        for log, head, rows in self._logs:
            if log.rows != head + rows:
                raise Unavailable(f"{run.name} wrote {log.rows} rows to {log.table}, not {rows}")
            points = [(at, found - head) for at, found in log.points if found > head]
            curves.append(from_nothing(begin, points))
        curve = added(curves)
        used = {name: seconds - before.get(name, 0.0) for name, seconds in self._meter.cpu.items()}
        run.seconds = curve[-1][0] - begin
        run.rate = rate(curve, self._job.events + self._job.files, self._job.events)
        run.redis_cpu = used.pop(REDIS, 0.0)
        run.sandbox_cpu = used.pop(SANDBOX, 0.0)
        run.cpu = sum(used.values())
        run.more["cpu_by_process"] = {name: round(value, 2) for name, value in used.items()}
        run.peaks = self._meter.peaks
        run.counts = self._meter.counts
