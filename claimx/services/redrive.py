"""The redriver: every second, a hint for each record that is due and may have none under way."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from claimx.domain.records import Stage
from claimx.services.runtime import Runtime

log = structlog.get_logger(__name__)

RECORDS_A_TICK = 5000
"""How many records one tick sends: paces what comes due all at once when a circuit closes."""

LONG_QUEUE = 200
"""
Messages in a queue beyond which its records are left for later.

What waits there keeps the workers busy for many seconds, and most records that are due are waiting
in it already: hints for them would only make it longer.
"""

TRICKLE = 50
"""Records a tick that are sent even so, the oldest: behind a queue that never shortens, a retry
would otherwise wait for ever."""


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
    nodes = _nodes(runtime) if any(affinity for _, affinity in due) else set()
    wanted: dict[tuple[Stage, str], list[str]] = {}
    for (stage, affinity), ids in due.items():
        if affinity and affinity not in nodes:
            # whoever takes it finds no file, and sends it back to be downloaded again
            report.orphaned += len(ids)
            wanted.setdefault((stage, ""), []).extend(ids)
        else:
            wanted.setdefault((stage, affinity), []).extend(ids)
    for (stage, affinity), ids in wanted.items():
        long = runtime.hints.backlog(stage, affinity) > LONG_QUEUE
        now = ids[:TRICKLE] if long else ids
        report.later += len(ids) - len(now)
        report.sent += len(now)
        runtime.hints.send(stage, now, affinity)
        runtime.metrics.add("redriven", len(now), stage=stage.value)
    if report.orphaned:
        log.warning("uploads of a node that is gone go to the others", records=report.orphaned)
    if report.sent or report.later:
        log.debug("redriven", sent=report.sent, later=report.later)
    return report


def _nodes(runtime: Runtime) -> set[str]:
    """
    Return the cache nodes whose own queue some announced process consumes.

    A process that does not say what it consumes counts for its node.
    """
    nodes: set[str] = set()
    for process in runtime.gates.processes():
        node = process.get("node", "")
        queues = process.get("queues")
        if queues is None or any(queue.endswith(f".{node}") for queue in queues.split(",")):
            nodes.add(node)
    return nodes - {""}
