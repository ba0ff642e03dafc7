"""Admitting what is missing: under a lease with a fence, and no more than there is room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import structlog

from claimx.domain.records import NewRecord
from claimx.services.pages import Pressure
from claimx.services.reconcile.report import Ending
from claimx.services.runtime import Runtime

log = structlog.get_logger(__name__)

JOB = "reconcile"
LEASE = "reconcile:fix"
LEASE_SECONDS = 120.0  # a piece takes seconds; a look through a very large table may take a minute
RECORDS_A_STEP = 500
SHARE_OF_FLIGHT = 0.5  # of CLAIMX_MAX_IN_FLIGHT: live events have the other half
PAUSE_SECONDS = 5.0
PATIENCE_SECONDS = 900.0  # without any progress of the workers
PAUSES_FOR_REDIS = (1.0, 2.0, 4.0, 8.0)


class Stopped(Exception):
    """Nothing more can be admitted, and why; what was admitted stays."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending)
        self.ending = ending


class Admission:
    """
    Admits records that are neither in the ledger nor in the lake.

    Of two processes that find the same records one admits them, whoever holds the lease: the
    ledger takes only what is not there. The lease saves the work of looking twice.
    """

    def __init__(self, runtime: Runtime, sleep: Callable[[float], None]) -> None:
        """Take the lease; raises Stopped when another has it."""
        self._runtime = runtime
        self._sleep = sleep
        self._fence = 0
        if not self._take():
            raise Stopped(Ending.BUSY)
        self._pressure = Pressure(runtime)

    def keep(self) -> bool:
        """
        Extend the lease; False when it is another's.

        A Redis that does not answer sounds the same, so it is asked once more for some seconds.
        """
        for pause in PAUSES_FOR_REDIS:
            if self._take():
                return True
            self._sleep(pause)
        return self._take()

    def _take(self) -> bool:
        fence = self._runtime.gates.lock(LEASE, self._runtime.holder, LEASE_SECONDS)
        self._fence = max(self._fence, fence or 0)
        return fence is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runtime.gates.unlock(LEASE, self._runtime.holder)

    def admit(self, records: Sequence[NewRecord], admitted: set[str]) -> None:
        """
        Admit records, and put the ids of those into *admitted* that were not in the ledger yet.

        Each step is atomic: a crash leaves the rest missing, to be found again. No hints are sent:
        the redriver sends them within seconds, paced. Raises Stopped, with nothing more done, when
        there is no room for long or another has taken the lease.
        """
        at = 0
        while at < len(records):
            step = records[at : at + min(self._room(), RECORDS_A_STEP)]
            done = self._runtime.ledger.readmit(JOB, step, self._fence)
            admitted.update(done or ())
            if done is None or not self.keep():
                raise Stopped(Ending.SUPERSEDED)
            at += len(step)

    def _room(self) -> int:
        """Wait until there is room for some record; returns for how many."""
        limit = max(1, int(self._runtime.limits.max_in_flight * SHARE_OF_FLIGHT))
        waited, least = 0.0, float("inf")
        while self._pressure.too_high(limit):
            if (held := self._pressure.in_flight()) < least:
                waited, least = 0.0, held
            if waited >= PATIENCE_SECONDS:
                raise Stopped(Ending.PRESSURE)
            if not waited:
                log.warning("waiting for room", in_flight=held, limit=limit)
            self._sleep(PAUSE_SECONDS)
            waited += PAUSE_SECONDS
            if not self.keep():
                raise Stopped(Ending.SUPERSEDED)
        return max(1, limit - self._pressure.in_flight())
