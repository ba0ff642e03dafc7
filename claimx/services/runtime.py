"""What a service is given: ports, policies and plain values; built once a process by bootstrap."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from claimx.domain.diagnosis import Diagnosis
from claimx.domain.ports.gates import Gates
from claimx.domain.ports.hints import Hints
from claimx.domain.ports.lake import Lake
from claimx.domain.ports.ledger import Ledger
from claimx.domain.ports.source import EventSource
from claimx.domain.ports.telemetry import Metrics
from claimx.domain.retry import RetryPolicy


@dataclass(frozen=True, slots=True)
class Limits:
    """Plain values from the settings that services need; seconds unless the name says otherwise."""

    poll_batch: int = 1000
    poll_overlap: float = 300.0
    poll_settle: float = 5.0
    poll_interval: float = 30.0
    poll_start: datetime | float = 3600.0  # where the first poll begins: a time, or seconds back
    far_seconds: float = 600.0  # behind older events a live one waits so long at most, and then
    far_pages: int = 20  # only while a poll reads what lies before within some ten seconds
    dedup_seconds: float = 86_400.0
    max_in_flight: int = 100_000
    project_fresh: float = 300.0
    lease_seconds: float = 8.0
    reader_lease: float = 10.0  # how long a reader of the source that died keeps others waiting
    api_concurrency: int = 20
    download_concurrency: int = 10
    upload_concurrency: int = 10
    held_media: int = 200_000  # rows without an attachment that reconcile holds, of some 1.5 kB
    batch_rows: int = 2000
    batch_seconds: float = 5.0
    ids_a_step: int = 5000  # that one step of the ledger looks up, in some 30 ms

    @property
    def half_in_flight(self) -> int:
        """What may be in flight for who admits beside the live poll, which has the other half."""
        return max(1, self.max_in_flight // 2)


@dataclass(slots=True)
class Runtime:
    """
    Everything a stage needs of its process.

    *now* is the wall clock in epoch seconds, *jitter* a number in [0, 1), *holder* names this
    process in leases, *new_trace* gives a trace id, *stopping* says whether this process is about
    to end: then nothing new is begun. *source* and *lake* are built on first use, because
    deltalake must not be touched by a process that forks later.
    """

    ledger: Ledger
    gates: Gates
    hints: Hints
    metrics: Metrics
    retry: RetryPolicy
    limits: Limits
    now: Callable[[], float]
    jitter: Callable[[], float]
    holder: str
    make_lake: Callable[[], Lake]
    make_source: Callable[[], EventSource]
    new_trace: Callable[[], str] = lambda: os.urandom(16).hex()
    diagnose_store: Callable[[], list[Diagnosis] | None] = list  # of Redis's set-up, if it tells
    stopping: Callable[[], bool] = lambda: False
    _lake: Lake | None = field(default=None, repr=False)
    _source: EventSource | None = field(default=None, repr=False)

    @property
    def lake(self) -> Lake:
        """The nine tables."""
        if self._lake is None:
            self._lake = self.make_lake()
        return self._lake

    @property
    def source(self) -> EventSource:
        """The Eventhouse table."""
        if self._source is None:
            self._source = self.make_source()
        return self._source
