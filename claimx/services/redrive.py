"""The redriver: every second, a hint for each record that is due and may have none under way."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from claimx.domain.records import Stage, State
from claimx.services.hinting import LONG_QUEUE, MOST_QUEUED
from claimx.services.runtime import Runtime

log = structlog.get_logger(__name__)

RECORDS_A_TICK = 5000
"""How many records one tick sends: paces what comes due all at once when a circuit closes."""

TRICKLE = 50
"""
Records a tick that are sent to a long queue even so, the oldest.

Behind one that others keep long, a retry would otherwise wait for ever. They stop at
`LONG_QUEUE`, so there is always room for these, unless nobody serves the queue.
"""


@dataclass(slots=True)
class RedriveReport:
    """
    How many records were *sent*, and how many left for *later*.

    *orphaned* ones, whose node is gone, went to the shared queue.
    """

    sent: int = 0
    later: int = 0
    orphaned: int = 0


def redrive_once(runtime: Runtime, *, limit: int = RECORDS_A_TICK) -> RedriveReport:
    """
    Send hints for up to *limit* records that are due: retries, waits that ended, lost leases.

    The ledger offers a record again some seconds later whatever becomes of its hint, so a crash
    here, two redrivers, or a queue that is too long now, cost only those seconds. Raises
    Unavailable when the ledger does not answer.
    """
    report = RedriveReport()
    due = runtime.ledger.due(limit)
    nodes = _nodes(runtime) if any(affinity for _, affinity in due) else None
    wanted: dict[tuple[Stage, str], list[str]] = {}
    for (stage, affinity), ids in due.items():
        if affinity and nodes is not None and affinity not in nodes:
            # whoever takes it finds no file, and sends it back to be downloaded again
            report.orphaned += len(ids)
            wanted.setdefault((stage, ""), []).extend(ids)
        else:
            wanted.setdefault((stage, affinity), []).extend(ids)
    for (stage, affinity), ids in wanted.items():
        waiting = runtime.hints.backlog(stage, affinity)
        now = ids[: _room(waiting)]
        report.later += len(ids) - len(now)
        report.sent += len(now)
        # of a backlog, what comes again would wait for the whole once for each try
        again = _come_again(runtime, now) if waiting else set()
        for part, ahead in (
            ([one for one in now if one in again], True),
            ([one for one in now if one not in again], False),
        ):
            if part:
                runtime.hints.send(stage, part, affinity, waiting=waiting, ahead=ahead)
        if now:
            runtime.metrics.add("redriven", len(now), stage=stage.value)
    if report.orphaned:
        log.warning("uploads of a node that is gone go to the others", records=report.orphaned)
    if report.sent or report.later:
        log.debug("redriven", sent=report.sent, later=report.later)
    return report


def _come_again(runtime: Runtime, ids: list[str]) -> set[str]:
    """Return those that were worked on before; a hint of the others may wait in the queue."""
    states = runtime.ledger.states(ids)
    return {record_id for record_id, state in states.items() if state is not State.READY}


def _room(backlog: int) -> int:
    """Return how many records may be hinted to a queue with so many messages."""
    if backlog > MOST_QUEUED:
        return 0
    return TRICKLE if backlog > LONG_QUEUE else RECORDS_A_TICK


def _nodes(runtime: Runtime) -> set[str] | None:
    """
    Return the cache nodes whose own queue some announced process consumes; None: nobody can say.

    A process that does not say what it consumes counts for its node. Whoever redrives is announced
    itself, so where nobody is, the gates did not answer, or have just lost what they knew. Taken
    for gone, the nodes' files would all be downloaded once more by others.
    """
    processes = runtime.gates.processes()
    if not processes:
        return None
    nodes: set[str] = set()
    for process in processes:
        node = process.get("node", "")
        queues = process.get("queues")
        if queues is None or any(queue.endswith(f".{node}") for queue in queues.split(",")):
            nodes.add(node)
    return nodes - {""}
