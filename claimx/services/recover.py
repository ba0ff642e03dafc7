"""
Media that a lost ledger had not finished, admitted again from the lake (domain page, section 5).

The poller drops events that the lake has, so after a loss of Redis nobody would come back to the
media that those events had found. Whether Redis was lost is known without asking the lake: a
ledger knows when its first poll was (`BORN`), the poller notes when it met finished events that
the ledger has never seen (`FORGOT`: an older copy was put back), and this module notes how far
it has recovered (`RECOVERED`).

Files that had failed are taken as well: their dead letters are lost, so nobody could requeue them.
Whatever was found since the loss is in this ledger, which refuses a record that is there, dead or
lately completed, so nothing is doubled however often this runs, and no clock decides. It runs
several times, because a writer that lived through the loss may still commit what it held: it
finds its leases gone within seconds, and `SETTLE_SECONDS` are many times that.

A look at all media may take longer than a worker lets a task live, or more memory than it has. Once
`MOST_TRIES` runs have died of that, the others after this loss look for those whose data are of the
last `RECENT_SECONDS` alone, among which is all that was under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import structlog

from claimx.domain.changes import Values
from claimx.domain.cursors import Checkpoint, Mark
from claimx.domain.errors import ClaimXError
from claimx.domain.polling import LIVE
from claimx.domain.records import NewRecord
from claimx.domain.times import MICROS_PER_SECOND, Micros, from_seconds, to_iso
from claimx.services.first_poll import BORN
from claimx.services.lease import Lease
from claimx.services.media_record import media_record
from claimx.services.pressure import Pressure
from claimx.services.runtime import Runtime
from claimx.services.tries import Tries

log = structlog.get_logger(__name__)

FORGOT = f"{LIVE}:forgot"
RECOVERED = "recover"

SETTLE_SECONDS = 900.0
FIRST_PAUSE_SECONDS = 30.0  # between the first two passes; doubled each time
NOTED_SECONDS = 120.0
"""
How long one note will do: a loss goes on for as long as its events are read again.

A small part of `SETTLE_SECONDS`, or a second loss soon after a note would get too few passes.
"""
PASS_SECONDS = 60.0
LOCK_SECONDS = 300.0
RECENT_SECONDS = 7 * 86_400.0
MOST_TRIES = 2
ROWS_AT_A_TIME = 10_000
RECORDS_A_STEP = 500

_LEASE = "recover"


class Recovery(StrEnum):
    """How a run ended."""

    NOT_NEEDED = "the ledger has forgotten nothing"
    DONE = "done"
    PRESSURE = "back-pressure"
    TIME = "out of time"
    BUSY = "another process is at it"
    SUPERSEDED = "another process was faster"
    FAILED = "failed"


@dataclass(slots=True)
class RecoverReport:
    """
    What a run did.

    *offered* media were given to the ledger, which takes those that it does not have: *forgotten*
    ones. *unusable* rows name no project that could be asked for a link.
    """

    ended: Recovery = Recovery.NOT_NEEDED
    offered: int = 0
    forgotten: int = 0
    unusable: int = 0
    error: str = ""


def recover_media(runtime: Runtime) -> RecoverReport:
    """
    Admit media again that are in the lake without an attachment row, if the ledger has forgotten.

    Costs three reads of the ledger when it has not. Takes about a minute at most; what is left
    over, and whatever fails, is done by the next run. Files that had failed are tried once more.
    """
    report = RecoverReport()
    try:
        if (lost_at := _due(runtime)) is None:
            return report
        lease = Lease(runtime.gates, _LEASE, runtime.holder, LOCK_SECONDS)
        if not lease.take():
            report.ended = Recovery.BUSY
            return report
        try:
            _look(runtime, report, lost_at, lease.fence)
        finally:
            lease.give_back()
    except ClaimXError as error:
        report.ended, report.error = Recovery.FAILED, str(error)
        log.warning(
            "media not recovered; the next run tries again",
            category=error.category.value,
            error=str(error),
            status=error.status,
        )
    if report.forgotten:
        log.warning(
            "Redis had lost its records: media without attachments are fetched again",
            ended=report.ended.value,
            media=report.forgotten,
        )
    if report.unusable:
        log.warning(
            "media rows name no project that could be asked for a link", rows=report.unusable
        )
    return report


def note_forgotten(runtime: Runtime, fence: int = 0) -> None:
    """
    Note that the lake has finished events which this ledger has never seen.

    For the poller, with its *fence*; cheap to call for every page.
    """
    noted, now = runtime.ledger.checkpoint(FORGOT), runtime.ledger.now()
    if noted is None or now - noted.source_time / MICROS_PER_SECOND >= NOTED_SECONDS:
        runtime.ledger.store_page(FORGOT, noted, from_seconds(now), [], fence)


def mark_of_loss(runtime: Runtime) -> Mark:
    """
    Return the same note as a mark.

    It goes with the step that moves the checkpoint over what was forgotten: were the note a step
    of its own, a store that is put back between the two would keep only the other.
    """
    now = runtime.ledger.now()
    return Mark(FORGOT, from_seconds(now - NOTED_SECONDS), from_seconds(now))


def _due(runtime: Runtime) -> Micros | None:
    """Return since when the ledger knows everything, if a pass is due for what was before."""
    noted = [runtime.ledger.checkpoint(cursor) for cursor in (BORN, FORGOT)]
    moments = [one.source_time for one in noted if one is not None]
    if not moments:
        return None  # nobody has polled yet
    lost_at = max(moments)
    recovered = runtime.ledger.checkpoint(RECOVERED)
    since = (recovered.source_time - lost_at) / MICROS_PER_SECOND if recovered else -1.0
    if since < 0:
        return lost_at
    if since >= SETTLE_SECONDS:
        return None
    pause = min(max(FIRST_PAUSE_SECONDS, 2 * since), SETTLE_SECONDS)
    return lost_at if runtime.ledger.now() - lost_at / MICROS_PER_SECOND >= pause else None


def _look(runtime: Runtime, report: RecoverReport, lost_at: Micros, fence: int) -> None:
    """Look for media, of late alone if runs have died since the loss."""
    tries, loss = Tries(runtime.gates, RECOVERED), str(lost_at)
    if tries.died_in(loss) < MOST_TRIES:
        with tries.one(loss):
            _Pass(runtime, report, lost_at, fence).run()
        return
    since = lost_at - from_seconds(RECENT_SECONDS)
    log.warning(
        "looks at all media died in a worker: files that had failed long ago stay so",
        since=to_iso(since),
    )
    _Pass(runtime, report, lost_at, fence, since).run()


class _Pass:
    """One walk over the media without attachments."""

    def __init__(
        self,
        runtime: Runtime,
        report: RecoverReport,
        lost_at: Micros,
        fence: int,
        since: Micros | None = None,
    ) -> None:
        self._since = since
        self._runtime = runtime
        self._report = report
        self._lost_at = lost_at
        self._fence = fence
        self._started = runtime.now()
        self._began_at = from_seconds(runtime.ledger.now())
        self._checkpoint = runtime.ledger.checkpoint(RECOVERED)
        self._pressure = Pressure(runtime)

    def run(self) -> None:
        """
        Walk to the end, or as far as time and back-pressure allow.

        The next pass then begins anew: what was admitted is finished by then, or refused.
        """
        after = ""
        while True:
            rows = self._runtime.lake.unattached_media(
                ROWS_AT_A_TIME, after, enriched_after=self._since, failed_too=True
            )
            if stopped := self._admit(self._records(rows)):
                self._report.ended = stopped
                return
            if len(rows) < ROWS_AT_A_TIME:
                break
            after = str(rows[-1]["media_id"])
        reached = max(self._began_at, self._lost_at)
        stored = self._store(reached, [])
        self._report.ended = Recovery.DONE if stored else Recovery.SUPERSEDED

    def _admit(self, records: Sequence[NewRecord]) -> Recovery | None:
        """Admit step by step; says why it stopped, if it did."""
        limit = self._runtime.limits.half_in_flight
        at = 0
        while at < len(records):
            if self._runtime.now() - self._started >= PASS_SECONDS:
                return Recovery.TIME
            room = limit - self._pressure.in_flight()
            if room <= 0:
                return Recovery.PRESSURE
            step = records[at : at + min(room, RECORDS_A_STEP)]
            there = self._runtime.ledger.states([record.id for record in step])
            # no hints: the redriver sends them within seconds, paced by the length of its queues
            if not self._store(self._checkpoint.source_time if self._checkpoint else 0, step):
                return Recovery.SUPERSEDED
            at += len(step)
            self._report.offered += len(step)
            self._report.forgotten += len(step) - len(there)
        return None

    def _store(self, reached: Micros, records: Sequence[NewRecord]) -> Checkpoint | None:
        self._checkpoint = self._runtime.ledger.store_page(
            RECOVERED, self._checkpoint, reached, records, self._fence
        )
        return self._checkpoint

    def _records(self, rows: Sequence[Values]) -> list[NewRecord]:
        records = []
        for row in rows:
            if not row["project_id"]:
                self._report.unusable += 1
                continue
            records.append(media_record(row, self._runtime.new_trace()))
        return records
