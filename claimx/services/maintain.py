"""Upkeep of the lake: one table after the other, by one process at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

import structlog

from claimx.domain.columns import Table
from claimx.domain.ports.gates import Gates
from claimx.domain.tables import TABLES
from claimx.services.lease import Lease

log = structlog.get_logger(__name__)

LEASE_SECONDS = 600.0
_LEASE = "maintenance"

Report = TypeVar("Report", covariant=True)  # noqa: PLC0105 - named for what it is


class Upkeep(Protocol[Report]):
    """A lake that can look after its tables; what it did is its own to describe."""

    def maintain(self, table: Table, *, full: bool = False) -> Report:
        """Do what is due for *table* beside its writers; never raises for what the lake refuses."""


def maintain_lake(
    lake: Upkeep[Report],
    gates: Gates,
    holder: str,
    tables: Iterable[Table] = tuple(TABLES.values()),
    *,
    full: bool = False,
) -> dict[str, Report]:
    """
    Maintain *tables* under a lease; returns what was done by table, nothing when others are at it.

    The lease is extended before each table and lost only by dying; two maintainers at once would
    waste work and break nothing. Writers are not stopped: a merge that meets a compaction is
    decided again. With *full*, files of killed writers go as well (daily is often enough).
    Raises Unavailable when Redis cannot say whose the lease is; what was done by then stands.
    """
    done: dict[str, Report] = {}
    lease = Lease(gates, _LEASE, holder, LEASE_SECONDS)
    try:
        for table in tables:
            if not lease.take():
                log.info("maintenance is another's", done=len(done))
                break
            done[table.name] = lake.maintain(table, full=full)
    finally:
        lease.give_back()
    return done
