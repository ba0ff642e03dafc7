"""Admitting what is missing: under a lease with a fence, and no more than there is room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Self

import structlog

from claimx.domain.records import NewRecord
from claimx.services.lease import Lease, outlast
from claimx.services.pressure import PAUSE_SECONDS, Pressure, room_comes
from claimx.services.reconcile.report import Ending
from claimx.services.runtime import Runtime
from claimx.services.stopped import Stopped

log = structlog.get_logger(__name__)

JOB = "reconcile"
LEASE = "reconcile:fix"
LEASE_SECONDS = 120.0  # a piece takes seconds; a look through a very large table may take a minute
RECORDS_A_STEP = 500
PATIENCE_SECONDS = 900.0  # without any progress of the workers


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
        # first, because it may fail, and then nothing must be held
        self._pressure = outlast(partial(Pressure, runtime), sleep)
        self._lease = Lease(runtime.gates, LEASE, runtime.holder, LEASE_SECONDS)
        if not self._lease.keep(sleep):
            raise Stopped(Ending.BUSY)

    def keep(self) -> None:
        """
        Extend the lease; raises Stopped when it is another's.

        A Redis that is away is waited for, and ends it by its Unavailable.
        """
        if not self._lease.keep(self._sleep):
            raise Stopped(Ending.SUPERSEDED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lease.give_back()

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
            readmit = partial(self._runtime.ledger.readmit, JOB, step, self._lease.fence)
            done = outlast(readmit, self._sleep)
            if done is None:
                raise Stopped(Ending.SUPERSEDED)
            admitted.update(done)
            self.keep()
            at += len(step)

    def _room(self) -> int:
        """Wait until there is room for some record; returns for how many."""
        limit = self._runtime.limits.half_in_flight
        least = float("inf")

        def pause(held: int) -> None:
            nonlocal least
            if held < least:
                log.warning("waiting for room", in_flight=held, limit=limit)
            least = min(least, held)
            self._sleep(PAUSE_SECONDS)
            self.keep()

        over = partial(outlast, partial(self._pressure.over, limit), self._sleep)
        if not room_comes(over, pause, PATIENCE_SECONDS):
            raise Stopped(Ending.PRESSURE)
        return max(1, limit - outlast(self._pressure.in_flight, self._sleep))
