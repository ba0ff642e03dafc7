"""
Blocking calls of a file system, made where they cost least.

A thread's turn costs 0.2 to 0.4 ms of CPU (`docs/performance.md`): somebody must wake it, and the
interpreter's lock changes hands at every call that lets go of it. A quick disk has done a small
file by then. So such calls are made in the event loop as long as they are quick, and in threads
for a while once they are not: a slow disk holds up nobody else in the loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")

SMALL_BYTES = 1024 * 1024
"""What is written, read or hashed in one call of `FileCalls.run`, at most."""

QUICK_SECONDS = 0.005
"""
How long calls may take on average to be made in the loop.

On a small box most of it is waiting for a core: 1.3 to 1.8 ms where one alone takes 0.5.
"""

WARY_SECONDS = 10.0
"""How long threads make them after that, before the loop tries again."""

_WEIGHT = 1 / 16  # of the last call in the average: one hiccup of the machine is no slow disk


class FileCalls:
    """
    Of one process and one loop at a time; at most *side_by_side* are made in threads at once.

    Closed, it goes on with new threads if it must.
    """

    def __init__(
        self, side_by_side: int = 10, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._side_by_side = side_by_side
        self._threads: ThreadPoolExecutor | None = None
        self._now = now
        self._mean = 0.0
        self._wary_until = now()

    async def run(self, call: Callable[..., _T], *arguments: object) -> _T:
        """
        Return what *call* returns, or raise what it raises; for calls of `SMALL_BYTES`.

        The loop has a turn before each, so that many in a row hold up others for one call at most,
        and those of several tasks for one of each.
        """
        await asyncio.sleep(0)
        begun = self._now()
        if begun < self._wary_until:
            return await self.run_apart(call, *arguments)
        try:
            return call(*arguments)
        finally:
            self._learn(self._now() - begun)

    async def run_apart(self, call: Callable[..., _T], *arguments: object) -> _T:
        """Make a call in a thread in any case: one that takes long on a quick disk, too."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._side_by_side, thread_name_prefix="files")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, call, *arguments)

    def close(self) -> None:
        """Let the threads end."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    def _learn(self, seconds: float) -> None:
        self._mean += (seconds - self._mean) * _WEIGHT
        if self._mean > QUICK_SECONDS:
            self._mean = 0.0
            self._wary_until = self._now() + WARY_SECONDS
