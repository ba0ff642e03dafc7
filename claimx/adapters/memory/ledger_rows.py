"""What the in-memory ledger does for the lake writer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from claimx.adapters.memory.ledger_records import Records, has_come
from claimx.adapters.memory.ledger_state import Kept
from claimx.domain.records import Failure, Kind, Record, Stage


class MemoryWriterDesk:
    """Hands entries out and settles their records; a writer is silent after *takeover_seconds*."""

    def __init__(self, records: Records, takeover_seconds: float) -> None:
        self._records = records
        self._takeover_seconds = takeover_seconds

    def read(self, count: int) -> list[tuple[str, str]]:
        """Hand out entries, those of silent writers first, unless their records are leased."""
        records, now = self._records, self._records.now()
        silent = (
            (entry, record_id)
            for entry, record_id in records.stream.stale(now, self._takeover_seconds)
            if not (kept := records.by_id.get(record_id)) or has_come(kept.leased_until, now)
        )
        found = list(islice(silent, count))
        return found + records.stream.read(count - len(found), now)

    def forget(self, entries: Iterable[str]) -> None:
        """Acknowledge and delete entries."""
        for entry in entries:
            self._records.stream.drop(entry)

    def finish(self, done: Sequence[tuple[str, Record]], known_seconds: float) -> int:
        """Settle pairs whose rows are committed; returns how many."""
        records = self._records
        settled = 0
        for _, record in done:
            kept = records.held(record, Stage.WRITE)
            if kept is None:
                continue
            settled += 1
            records.unlist(kept)
            kept.free()
            if kept.dead:
                kept.owed, kept.rows, kept.look_at = False, b"", None
            else:
                del records.by_id[kept.id]
                self._count(kept, record.data.get("status"), known_seconds)
        self.forget(entry for entry, _ in done)
        return settled

    def refuse(self, done: Sequence[tuple[str, Record]], failure: Failure) -> int:
        """Bury records whose rows the lake refuses; the dead only lose them. Returns how many."""
        refused = 0
        for _, record in done:
            if kept := self._records.held(record, Stage.WRITE):
                self._records.bury(kept, failure)
                refused += 1
        self.forget(entry for entry, _ in done)
        return refused

    def _count(self, kept: Kept, status: object, known_seconds: float) -> None:
        unhandled = kept.kind is Kind.EVENT and status == "unhandled"
        self._records.counters[f"{kept.kind}.{'unhandled' if unhandled else 'recorded'}"] += 1
        if kept.kind is Kind.MEDIA and status == "completed":
            self._records.remembered.add(kept.id, known_seconds)
