"""What the ledger in Redis does for the lake writer."""

from __future__ import annotations

from collections.abc import Sequence

from claimx.adapters.ledger import wire
from claimx.adapters.ledger.chunks import chunks, groups
from claimx.adapters.ledger.connection import Connection
from claimx.domain.records import Failure, Record

MAX_BLOCK_SECONDS = 20.0  # below the client's time-out
_GROUP = "writers"


class RedisWriterDesk:
    """
    The part of `RedisLedger` that hands entries of the lake stream out and settles their records.

    A writer is silent after *_takeover_ms*.
    """

    _redis: Connection
    _takeover_ms: int

    def read_rows(self, consumer: str, count: int, block_seconds: float) -> list[tuple[str, str]]:
        """Hand out entries, silent consumers' first; waits for one when there is none."""
        if count <= 0:
            return []
        found = self._redis.run("read_rows", consumer, count, self._takeover_ms)
        if not found and block_seconds > 0:
            found = self._wait_for_rows(consumer, count, block_seconds)
        return [(entry.decode(), record_id.decode()) for entry, record_id in groups(found, 2)]

    def forget_entries(self, entry_ids: Sequence[str]) -> None:
        """Acknowledge and delete entries."""
        for chunk in chunks(entry_ids):
            self._redis.run("forget_entries", *chunk)

    def finish(self, done: Sequence[tuple[str, Record]], known_seconds: float) -> int:
        """Settle (entry id, record) pairs whose rows are committed; returns how many."""
        return sum(
            self._redis.run("finish", known_seconds, *wire.finish_arguments(chunk))
            for chunk in chunks(done)
        )

    def fail_rows(self, done: Sequence[tuple[str, Record]], failure: Failure) -> int:
        """
        Bury records whose rows the lake refuses; returns how many.

        The rows are kept for a requeue to the stage WRITE. A record that was dead already loses
        them, and keeps the failure that it died of.
        """
        head = wire.failure_arguments(failure)
        return sum(
            self._redis.run("fail_rows", *head, *wire.refused_arguments(chunk))
            for chunk in chunks(done)
        )

    def _wait_for_rows(self, consumer: str, count: int, seconds: float) -> list[bytes]:
        seconds = min(seconds, MAX_BLOCK_SECONDS)
        entries = self._redis.wait_for_entries("rows", _GROUP, consumer, count, seconds)
        return [part for entry, fields in entries for part in (entry, fields[b"i"])]
