"""Dead letters back to work: one function for the command line and the admin task."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import structlog

from claimx.domain.records import DeadFilter, Stage
from claimx.domain.requeueing import Selection, way_back
from claimx.services.hinting import hint
from claimx.services.runtime import Runtime

log = structlog.get_logger(__name__)


def select(runtime: Runtime, match: DeadFilter, stage: Stage | None = None) -> Selection:
    """Return the dead letters that match now; what dies later is in no selection."""
    return Selection(runtime.ledger.dead_letters(replace(match, bare=True)), stage)


def requeue_selected(runtime: Runtime, chosen: Selection) -> int:
    """
    Requeue exactly what was selected; returns how many changed state.

    Each is one atomic change from dead to a stage, due now: of two operators only one counts it,
    and a crash between that and the hint costs the second until the redriver finds it.
    """
    going = chosen.fitting
    done = runtime.ledger.requeue([letter.id for letter in going], chosen.stage)
    hints: dict[Stage, list[str]] = defaultdict(list)
    for letter in going:
        target = way_back(letter.kind, letter.stage, chosen.stage)
        # those for the writer and for ingest the redriver brings back itself
        if target and target not in (Stage.WRITE, Stage.INGEST):
            hints[target].append(letter.id)
    for target, ids in hints.items():
        hint(runtime, target, ids)
    misfits = len(chosen.letters) - len(going)
    log.info("dead letters requeued", matched=len(chosen.letters), requeued=done, misfits=misfits)
    return done


def requeue_matching(runtime: Runtime, match: DeadFilter, stage: Stage | None = None) -> int:
    """Requeue what matches now, see `requeue_selected`."""
    return requeue_selected(runtime, select(runtime, match, stage))
