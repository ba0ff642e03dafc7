"""How what was read of the source gets into the ledger in Redis."""

from __future__ import annotations

from collections.abc import Sequence

from claimx.adapters.ledger import texts, wire
from claimx.adapters.ledger.chunks import chunks
from claimx.adapters.ledger.connection import Connection
from claimx.adapters.ledger.gaps import GapBook
from claimx.domain.cursors import Checkpoint, Mark
from claimx.domain.ports.ledger import Admitted, DeadOnArrival
from claimx.domain.readmission import call_of
from claimx.domain.records import NewRecord, Record
from claimx.domain.times import Micros


class RedisAdmission(GapBook):
    """
    The part of `RedisLedger` that admits pages, then their events, and moves checkpoints.

    An event that came by another way than a page is remembered for *_dedup_seconds*.
    """

    _redis: Connection
    _dedup_seconds: float

    def checkpoint(self, cursor: str) -> Checkpoint | None:
        """Return the cursor's checkpoint, None before its first move."""
        return _checkpoint(*self._redis.fields(f"cursor:{cursor}", "time", "version"))

    def store_page(
        self,
        cursor: str,
        expected: Checkpoint | None,
        move_to: Micros,
        pages: Sequence[NewRecord],
        fence: int = 0,
        marks: Sequence[Mark] = (),
        left_out: Sequence[str] = (),
    ) -> Checkpoint | None:
        """Store page records and move the checkpoint, in one step; None when it was moved."""
        known = (expected.version, expected.source_time) if expected else (0, 0)
        head = (cursor, *known, move_to, fence, self._dedup_seconds, wire.kept(cursor))
        also = (len(left_out), *left_out, *wire.mark_arguments(marks))
        found = self._redis.run("store_page", *head, *also, *wire.new_arguments(pages))
        return None if found is None else Checkpoint(int(found[0]), int(found[1]))

    def note_read(
        self, cursor: str, at: Checkpoint, text: str, left_out: Sequence[str] = ()
    ) -> bool:
        """Keep a text with the cursor while its checkpoint is *at*; False when it is no longer."""
        place = (cursor, at.version, at.source_time)
        return bool(self._redis.run("note_read", *place, text, *left_out))

    def noted_read(self, cursor: str) -> tuple[Checkpoint | None, str | None]:
        """Return the checkpoint and what was noted last with it, in one step."""
        time, version, note = self._redis.fields(f"cursor:{cursor}", "time", "version", "note")
        return _checkpoint(time, version), None if note is None else note.decode()

    def admit(
        self,
        page: Record,
        events: Sequence[NewRecord],
        malformed: Sequence[DeadOnArrival],
        seen_seconds: float,
    ) -> Admitted | None:
        """Turn a page into event records and dead letters, in one step however large it is."""
        arguments: list[wire.Argument] = [page.id, page.lease, seen_seconds, len(events)]
        for new in events:
            arguments += (new.id, new.stage.value)
            arguments += (texts.encoded(new.id, new.data), texts.plain(new.trace))
        for dead in malformed:
            arguments += wire.dead_arguments(dead)
        found = self._redis.run("admit", *arguments)
        if found is None:
            return None
        ids = tuple(record_id.decode() for record_id in found[2:])
        return Admitted(ids, duplicates=found[0], malformed=found[1])

    def seen(self, ids: Sequence[str]) -> set[str]:
        """Return those ids that are remembered."""
        return {
            found.decode() for chunk in chunks(ids) for found in self._redis.run("seen", *chunk)
        }

    def readmit(self, job: str, records: Sequence[NewRecord], fence: int) -> tuple[str, ...] | None:
        """Admit those of *records* that are not there, in one step however many they are."""
        call = call_of(fence, records)
        arguments: list[wire.Argument] = [job, fence, self._dedup_seconds, call]
        for new in records:
            arguments += (new.id, new.kind.value, new.stage.value)
            arguments += (texts.encoded(new.id, new.data), texts.plain(new.trace))
        found = self._redis.run("readmit", *arguments)
        return None if found is None else tuple(record_id.decode() for record_id in found)


def _checkpoint(time: bytes | None, version: bytes | None) -> Checkpoint | None:
    return None if time is None else Checkpoint(int(time), int(version or 0))
