"""What became of the records of a chunk: counted and logged."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import structlog

from claimx.domain.ports.telemetry import Metrics
from claimx.domain.records import Advance, Buried, Outcome, Retried, Stage, Waited
from claimx.services.at_work import names_of

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Counts:
    """What became of a chunk's records; *lost* ones are another worker's now."""

    processed: int = 0
    retried: int = 0
    waited: int = 0
    dead: int = 0
    released: int = 0
    lost: int = 0

    @property
    def again(self) -> int:
        """Records that come again by themselves."""
        return self.retried + self.waited


class Account:
    """Counts what becomes of the records of one chunk, and logs it; failures are metrics, too."""

    def __init__(self, stage: Stage, metrics: Metrics) -> None:
        self._stage = stage.value
        self._metrics = metrics
        self._tells_each = logging.getLogger(__name__).isEnabledFor(logging.DEBUG)
        self.counts = Counts()

    def settled(self, outcome: Outcome) -> None:
        """Count and log one settled outcome."""
        metrics, stage, record = self._metrics, self._stage, outcome.record
        if isinstance(outcome, Advance):
            self.counts.processed += 1
            if not self._tells_each:
                return
        line = log.bind(stage=stage, trace=record.trace, record=record.id, **names_of(record))
        if isinstance(outcome, Advance):
            line.debug("stage done", to=outcome.stage.value)
            return
        failure = outcome.failure
        told = {
            "category": failure.category.value,
            "error": failure.error,
            "reason": failure.message,
        }
        metrics.add("failed", stage=stage, category=failure.category.value)
        match outcome:
            case Retried(delay=delay):
                self.counts.retried += 1
                metrics.add("retried", stage=stage)
                line.info("comes again", attempt=record.attempts + 1, delay=round(delay, 3), **told)
            case Waited(delay=delay):
                self.counts.waited += 1
                line.debug("waits", delay=round(delay, 3), **told)
            case Buried():
                self.counts.dead += 1
                metrics.add("dead", stage=stage, category=failure.category.value)
                line.warning("buried", given_up=failure.reason, attempts=record.attempts, **told)

    def tell(self) -> None:
        """Log the chunk in one line."""
        counts = self.counts
        log.info(
            "chunk done",
            stage=self._stage,
            processed=counts.processed,
            retried=counts.retried,
            waited=counts.waited,
            dead=counts.dead,
        )
