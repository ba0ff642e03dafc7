"""Dead letters back to work: one function for the command line and the admin task."""

from __future__ import annotations

from collections import defaultdict

import structlog

from claimx.domain.records import DeadFilter, Kind, Stage
from claimx.services.hinting import hint
from claimx.services.runtime import Runtime

log = structlog.get_logger(__name__)


def requeue_matching(runtime: Runtime, match: DeadFilter, stage: Stage | None = None) -> int:
    """
    Requeue what matches; returns how many changed state.

    Each is one atomic change from dead to a stage, due now: of two operators only one counts it,
    and a crash between that and the hint costs the second until the redriver finds it.
    """
    letters = runtime.ledger.dead_letters(match)
    done = runtime.ledger.requeue([letter.id for letter in letters], stage)
    hints: dict[Stage, list[str]] = defaultdict(list)
    for letter in letters:
        target = stage or (Stage.DOWNLOAD if letter.kind is Kind.MEDIA else letter.stage)
        if target not in (Stage.WRITE, Stage.INGEST):  # those the redriver brings back itself
            hints[target].append(letter.id)
    for target, ids in hints.items():
        hint(runtime, target, ids)
    log.info("dead letters requeued", matched=len(letters), requeued=done)
    return done
