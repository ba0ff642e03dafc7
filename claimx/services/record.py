"""The stage RECORD: an uploaded media file becomes its attachment row, for the lake writer."""

from __future__ import annotations

from collections.abc import Sequence

from claimx.domain.codec import encode_changes
from claimx.domain.records import Advance, Outcome, Record, Stage
from claimx.services.attachments import COMPLETED, completed_row, failed
from claimx.services.chunk import BOUND_SECONDS, Chunk, claim
from claimx.services.chunk_account import Counts
from claimx.services.runtime import Runtime

_CONCURRENCY = 1000  # it only computes


class RecordStage:
    """Attachment rows of one process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def run(self, ids: Sequence[str], *, bound_seconds: float = BOUND_SECONDS) -> Counts:
        """
        Make the rows of those media records named by *ids* that are due here; safe to repeat.

        Raises Unavailable when the ledger does not answer.
        """
        records = await claim(self._runtime, Stage.RECORD, ids)
        chunk = Chunk(
            self._runtime,
            Stage.RECORD,
            self.work,
            concurrency=_CONCURRENCY,
            bound_seconds=bound_seconds,
        )
        return await chunk.run(records)

    async def work(self, record: Record) -> Outcome:
        """Return what becomes of one record."""
        data = dict(record.data)
        try:
            row = completed_row(data)
        except Exception as error:  # noqa: BLE001 - the policy judges what nobody classified
            return failed(record, error, self._runtime, data)
        data["status"] = COMPLETED
        return Advance(record, Stage.WRITE, data, rows=encode_changes([row]))
