"""
Files that this process has uploaded, kept in its cache until their attachment rows are committed.

Who commits a row may be on another machine and tells nobody: a record that is gone from the
ledger was committed. So the process that uploaded the files, which alone knows their names without
looking through a folder, asks for thousands of them at a time, first when a row may well be there
and then less and less often. What it forgets (a restart, a lake that is away for long) the
`CacheSweeper` finds.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import structlog

from claimx.domain.errors import ClaimXError
from claimx.domain.ports.ledger import Ledger
from claimx.domain.ports.media import MediaCache
from claimx.domain.times import seconds_left

log = structlog.get_logger(__name__)

EVERY_SECONDS = 1.0
ASK_AFTER = (3.0, 2.0, 3.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
"""Seconds before each question about a file. A batch of rows is written 5 s after its first."""
ASKED_AT_ONCE = 5000
MOST = 200_000  # files remembered, of some 300 bytes each; beyond, the sweeper does it


class UploadedFiles:
    """
    Remembers files of *cache* and removes each soon after its record is done; for any threads.

    A thread of its own runs while there is something to wait for, so that the last files of the
    day go as soon as the first. *now* is in epoch seconds; *alone* is false for a caller that
    calls `clear` itself.
    """

    def __init__(
        self, cache: MediaCache, ledger: Ledger, now: Callable[[], float], *, alone: bool = True
    ) -> None:
        self._cache = cache
        self._ledger = ledger
        self._now = now
        self._alone = alone
        # one queue for each number of questions asked: within it all wait equally long
        self._queues: list[deque[tuple[float, str, str]]] = [deque() for _ in ASK_AFTER]
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues)

    def add(self, record_id: str, name: str) -> None:
        """Remember that the file *name* may go once the record is done."""
        with self._lock:
            if len(self) >= MOST or self._stop.is_set():
                return
            self._queues[0].append((self._now() + ASK_AFTER[0], record_id, name))
            if self._alone and self._thread is None:
                self._thread = threading.Thread(target=self._work, name="uploaded", daemon=True)
                self._thread.start()

    def clear(self) -> int:
        """Ask about the files that are due and remove what is done with; returns how many went."""
        removed = 0
        for asked, queue in enumerate(self._queues):
            for _ in range(1 + len(queue) // ASKED_AT_ONCE):
                if batch := self._due(queue, ASK_AFTER[asked]):
                    removed += self._ask(batch, asked)
        if removed:
            log.debug("cached files removed", files=removed, waiting=len(self))
        return removed

    def close(self) -> None:
        """End the thread; what is remembered is the sweeper's then."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(1.0)

    def _due(self, queue: deque[tuple[float, str, str]], longest: float) -> list[tuple[str, str]]:
        now = self._now()
        with self._lock:
            batch: list[tuple[str, str]] = []
            while (
                queue and not seconds_left(queue[0][0], now, longest) and len(batch) < ASKED_AT_ONCE
            ):
                batch.append(queue.popleft()[1:])
            return batch

    def _ask(self, batch: list[tuple[str, str]], asked: int) -> int:
        try:
            active = self._ledger.active_media([record_id for record_id, _ in batch])
        except ClaimXError as error:
            log.info("cached files stay for now", files=len(batch), reason=str(error))
            self._again(batch, asked)
            return 0
        self._again([one for one in batch if one[0] in active], asked + 1)
        removed = 0
        for record_id, name in batch:
            if record_id not in active:
                removed += self._remove(name)
        return removed

    def _again(self, batch: list[tuple[str, str]], asked: int) -> None:
        if asked >= len(ASK_AFTER):
            return  # something holds these up: the sweeper looks after them
        with self._lock:
            due = self._now() + ASK_AFTER[asked]
            self._queues[asked].extend((due, *one) for one in batch)

    def _remove(self, name: str) -> int:
        try:
            self._cache.remove(name)
        except (OSError, ValueError) as error:
            log.warning("cached file not removed", error=type(error).__name__)
            return 0
        return 1

    def _work(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            try:
                self.clear()
            except Exception as error:  # noqa: BLE001 - the thread must live: the cache would fill
                log.warning("cached files not removed", error=type(error).__name__)
            with self._lock:
                if not len(self):
                    self._thread = None
                    return
