"""The stage INGEST: a page becomes event records, and each row that is no event a dead letter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from claimx.domain.errors import ClaimXError, category_of
from claimx.domain.events import Event
from claimx.domain.ports.ledger import Admitted, DeadOnArrival
from claimx.domain.records import (
    Advance,
    Buried,
    Failure,
    Kind,
    NewRecord,
    Record,
    Stage,
)
from claimx.services.hinting import hint
from claimx.services.runtime import Runtime
from claimx.services.source_rows import is_page, read_page, read_row

log = structlog.get_logger(__name__)

LEASE_SECONDS = 10.0  # a record's 2000 rows take a tenth of a second


@dataclass(slots=True)
class IngestReport:
    """What became of the pages: counts of rows, and of the pages that were another worker's."""

    pages: int = 0
    admitted: int = 0
    duplicates: int = 0
    malformed: int = 0
    not_ours: int = 0


def ingest(runtime: Runtime, ids: Sequence[str]) -> IngestReport:
    """
    Admit the events of the pages named by *ids*; safe to repeat, alone or side by side.

    Each page is one step of the ledger: a crash before it leaves the page leased, and it comes
    back when the lease is over; a crash after it costs the hints, which the redriver sends again.
    Raises Unavailable when the ledger does not answer.
    """
    report = IngestReport()
    for record_id in dict.fromkeys(ids):
        claimed = runtime.ledger.claim(
            Stage.INGEST, [record_id], max(LEASE_SECONDS, runtime.limits.lease_seconds)
        )
        if not claimed:
            report.not_ours += 1
        for record in claimed:
            if record.kind is Kind.PAGE and is_page(record.data):
                _admit(runtime, record, report)
            else:
                _settle_alone(runtime, record, report)
    if report.admitted:
        runtime.metrics.add("admitted", report.admitted, kind=Kind.EVENT.value)
    if report.pages:
        runtime.metrics.add("processed", report.pages, stage=Stage.INGEST.value)
    if report.duplicates:
        runtime.metrics.add("duplicates", report.duplicates, layer="ledger")
    return report


def _admit(runtime: Runtime, page: Record, report: IngestReport) -> None:
    """Admit one page; the first row of an id stands, whatever a later one says."""
    events: dict[str, NewRecord] = {}
    malformed: dict[str, DeadOnArrival] = {}
    doubled = 0
    for record_id, data, wrong in read_page(page.data):
        if record_id in events or record_id in malformed:
            doubled += 1
        elif wrong is None:
            events[record_id] = NewRecord(
                record_id, Kind.EVENT, Stage.ENRICH, data, runtime.new_trace()
            )
        else:
            dead = NewRecord(record_id, Kind.EVENT, Stage.INGEST, data, runtime.new_trace())
            malformed[record_id] = DeadOnArrival(dead, why_malformed(runtime, wrong))
    admitted: Admitted | None = runtime.ledger.admit(
        page, list(events.values()), list(malformed.values()), runtime.limits.dedup_seconds
    )
    if admitted is None:
        report.not_ours += 1
        log.info("page lost to another worker", page=page.id)
        return
    report.pages += 1
    report.admitted += len(admitted.ids)
    report.duplicates += admitted.duplicates + doubled
    report.malformed += admitted.malformed
    _tell(runtime, malformed, admitted.malformed)
    if admitted.ids:
        # events of a project go into one chunk, which then asks for the project once
        together = sorted(admitted.ids, key=lambda one: events[one].data.get("project_id") or "")
        hint(runtime, Stage.ENRICH, together)


def _settle_alone(runtime: Runtime, record: Record, report: IngestReport) -> None:
    """Look once more at a requeued dead row: on as an event, or back to the dead letters."""
    _, event = read_row(record.data)
    if isinstance(event, Event):
        if runtime.ledger.settle([Advance(record, Stage.ENRICH, event.to_json())])[0]:
            report.admitted += 1
            hint(runtime, Stage.ENRICH, [record.id])
            return
    else:
        failure = why_malformed(runtime, event)
        if runtime.ledger.settle([Buried(record, failure)])[0]:
            report.malformed += 1
            _tell(runtime, {record.id: DeadOnArrival(_as_new(record), failure)}, 1)
            return
    report.not_ours += 1


def _as_new(record: Record) -> NewRecord:
    return NewRecord(record.id, record.kind, record.stage, record.data, record.trace)


def why_malformed(runtime: Runtime, error: Exception) -> Failure:
    """Describe why a row is no event; a foreign exception's words may hold the row's values."""
    known = isinstance(error, ClaimXError)
    return Failure(
        category=category_of(error),
        error=type(error).__name__,
        message=str(error) if known else "the row made its parser fail",
        stage=Stage.INGEST,
        at=runtime.now(),
        reason="malformed",
    )


def _tell(runtime: Runtime, malformed: dict[str, DeadOnArrival], count: int) -> None:
    """Tell of the *count* rows among *malformed* that are new; which ones, the ledger keeps."""
    told = list(malformed.values())[:count]
    for dead in told[:20]:  # a broken feed must not drown the log
        log.warning(
            "row buried",
            record=dead.record.id,
            error=dead.failure.error,
            category=dead.failure.category.value,
            reason=dead.failure.message,
        )
    for category, alike in Counter(dead.failure.category for dead in told).items():
        runtime.metrics.add("dead", alike, stage=Stage.INGEST.value, category=category.value)
