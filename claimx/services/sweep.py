"""
Cached media files that nobody needs any more.

A file may go once its attachment row is committed, and the process that commits it may be on
another machine. So each node asks the ledger about its own files: a record that is gone was
committed, and a dead one starts again from its link.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from claimx.domain.errors import ClaimXError
from claimx.domain.ports import CacheEntry, Ledger, MediaCache
from claimx.domain.records import Stage, State, media_record_id

log = structlog.get_logger(__name__)

EVERY_SECONDS = 60.0
BATCH = 500  # files asked about at a time, in turn
LISTED = 20_000
YOUNG_SECONDS = 60.0  # a file this young may belong to a record that is just being settled
OLD_SECONDS = 24 * 3600.0  # a file this old goes whatever its record says; it can be fetched again


class CacheSweeper:
    """
    Keeps one cache to what is still needed; cheap enough to be called after every chunk.

    With 500 files a minute a finished file is gone within minutes, and any file within a day of
    its download.
    """

    def __init__(self, cache: MediaCache, ledger: Ledger, now: Callable[[], float]) -> None:
        self._cache = cache
        self._ledger = ledger
        self._now = now
        self._due = 0.0
        self._next = 0

    def sweep_if_due(self) -> int:
        """Sweep unless it was done within the last minute; never raises. Returns files removed."""
        if self._now() < self._due:
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
        gone = [entry for entry in asked if not self._needed(entry)]
        for entry in gone:
            self._cache.remove(entry.name)
        self._next += len(asked) - len(gone)
        removed += len(gone)
        if removed:
            log.info("cache swept", files=removed)
        return removed

    def _needed(self, entry: CacheEntry) -> bool:
        if entry.media_id is None:
            return True  # its age will tell
        found = self._ledger.find(media_record_id(entry.media_id))
        if found is None:
            return False
        record = found[0]
        if record.state is State.DEAD:
            return False
        cached = record.data.get("cached")
        if record.stage is Stage.DOWNLOAD or not isinstance(cached, dict):
            return True  # it may be on its way from here to the record
        return bool(cached.get("name") == entry.name)
