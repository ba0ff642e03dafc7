"""
Cached media files that nobody needs any more and nobody remembers.

What a process has uploaded it removes itself (`claimx.services.uploaded`). This is for the rest:
files of processes that ended, of records that died, of a lake that was away for long. Each node
asks the ledger about its own files: a record that is gone was committed, and a dead one starts
again from its link.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from claimx.domain.errors import ClaimXError
from claimx.domain.ports.ledger import Ledger
from claimx.domain.ports.media import MediaCache
from claimx.domain.records import media_record_id
from claimx.domain.times import seconds_left

log = structlog.get_logger(__name__)

EVERY_SECONDS = 60.0
BATCH = 10_000  # files asked about at a time, in turn
LISTED = 100_000
YOUNG_SECONDS = 60.0  # a file this young may belong to a record that is just being settled
OLD_SECONDS = 24 * 3600.0  # a file this old goes whatever its record says; it can be fetched again


class CacheSweeper:
    """
    Keeps one cache to what is still needed; cheap enough to be called after every chunk.

    With 10,000 files a minute and process a forgotten file is gone within minutes, and any file
    within a day of its download.
    """

    def __init__(self, cache: MediaCache, ledger: Ledger, now: Callable[[], float]) -> None:
        self._cache = cache
        self._ledger = ledger
        self._now = now
        self._due = 0.0
        self._next = 0

    def is_due(self) -> bool:
        """Say whether `sweep_if_due` has anything to do: it is a minute since the last time."""
        return not seconds_left(self._due, self._now(), EVERY_SECONDS)

    def sweep_if_due(self) -> int:
        """Sweep unless it was done within the last minute; never raises. Returns files removed."""
        if not self.is_due():
            return 0
        self._due = self._now() + EVERY_SECONDS
        try:
            return self.sweep()
        except (ClaimXError, OSError) as error:
            log.warning("cache not swept", error=type(error).__name__)
            return 0

    def sweep(self, batch: int = BATCH) -> int:
        """
        Remove old files, then ask about the next *batch*; returns how many files were removed.

        Raises Unavailable when the ledger does not answer, OSError when the folder does not.
        """
        removed = self._cache.sweep(OLD_SECONDS)
        entries = self._cache.entries(LISTED, YOUNG_SECONDS)
        if self._next >= len(entries):
            self._next = 0
        asked = entries[self._next : self._next + batch]
        # of a file whose name does not tell whose it is, its age will
        ids = {entry.media_id: media_record_id(entry.media_id) for entry in asked if entry.media_id}
        active = self._ledger.active_media(list(ids.values())) if ids else set()
        gone = [entry for entry in asked if entry.media_id and ids[entry.media_id] not in active]
        for entry in gone:
            self._cache.remove(entry.name)
        self._next += len(asked) - len(gone)
        removed += len(gone)
        if removed:
            log.info("cache swept", files=removed)
        return removed
