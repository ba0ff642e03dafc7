"""
Blocking calls of a file system, made where they cost least.

A thread's turn costs 0.2 to 0.4 ms of CPU (`docs/performance.md`): somebody must wake it, and the
interpreter's lock changes hands at every call that lets go of it. A quick disk has done a small
file by then. So such calls are made in the event loop as long as they are quick, and in threads
for a while once they are not: a slow disk holds up nobody else in the loop.

What a call waits for a core is not the disk's doing, and on a busy box most of what it takes. Where
the system tells it apart (Linux does), it does not count.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from claimx.domain.errors import TryLater

_T = TypeVar("_T")

SMALL_BYTES = 1024 * 1024
"""What is written, read or hashed in one call of `FileCalls.run`, at most."""

QUICK_SECONDS = 0.005
"""
How long calls may take on average to be made in the loop, without what they wait for a core."""

WARY_SECONDS = 10.0
"""How long threads make them after that, before the loop tries again."""

_SCHEDULED = "/proc/thread-self/schedstat"  # nanoseconds at work, and waiting for a core
_SHORT_OF = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM))
_WEIGHT = 1 / 16  # of the last call in the average: one hiccup of the machine is no slow disk


class FileCalls:
    """
    Of one process and one loop at a time; at most *side_by_side* are made in threads at once.

    Closed, it goes on with new threads if it must.
    """

    def __init__(
        self,
        side_by_side: int = 10,
        *,
        now: Callable[[], float] = time.monotonic,
        waits: CoreWaits | None = None,
    ) -> None:
        self._side_by_side = side_by_side
        self._threads: ThreadPoolExecutor | None = None
        self._now = now
        self._waits = CoreWaits() if waits is None else waits
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
        waited = self._waits()
        try:
            return call(*arguments)
        finally:
            self._learn(self._now() - begun - (self._waits() - waited))

    async def run_apart(self, call: Callable[..., _T], *arguments: object) -> _T:
        """Make a call in a thread in any case: one that takes long on a quick disk, too."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._side_by_side, thread_name_prefix="files")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, call, *arguments)

    def close(self) -> None:
        """Let the threads end."""
        self._waits.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    def _learn(self, seconds: float) -> None:
        self._mean += (seconds - self._mean) * _WEIGHT
        if self._mean > QUICK_SECONDS:
            self._mean = 0.0
            self._wary_until = self._now() + WARY_SECONDS


class CoreWaits:
    """How many seconds the calling thread has waited for a core so far; 0 where nobody tells."""

    def __init__(self) -> None:
        self._thread = 0
        self._file: int | None = None

    def __call__(self) -> float:
        """Ask the system, which takes it a microsecond."""
        if self._thread != threading.get_native_id():  # of another thread, or process, until now
            self._open()
        if self._file is None:
            return 0.0
        try:
            return int(os.pread(self._file, 64, 0).split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            return 0.0

    def close(self) -> None:
        """Close what is asked; it opens again if it must."""
        file, self._file, self._thread = self._file, None, 0
        if file is not None:
            os.close(file)

    def _open(self) -> None:
        self.close()
        self._thread = threading.get_native_id()
        with suppress(OSError):
            self._file = os.open(_SCHEDULED, os.O_RDONLY | os.O_CLOEXEC)


def unread(error: OSError) -> TryLater | FileNotFoundError:
    """
    Return what it means that a cached file could not be opened or read.

    It is as good as gone, and is downloaded again; unless the machine is short of open files or
    memory, which says nothing of it.
    """
    reason = errno.errorcode.get(error.errno or 0, type(error).__name__)
    if error.errno in _SHORT_OF:
        return TryLater(f"a cached file cannot be read now ({reason})")
    return FileNotFoundError(errno.ENOENT, f"a cached file cannot be read ({reason})")


def begin_writing(file: int, begin: int, length: int) -> None:
    """
    Have the system bring to the disk what was just written to an open *file*, and not wait for it.

    Whoever syncs the file a turn of the loop later waits half as long (`docs/performance.md`).
    Nothing fails: it is advice, and what is still on its way stays in memory.
    """
    _no_longer_needed(file, begin, length)


def forget_pages(file: int) -> None:
    """
    Let the system use the memory anew in which it keeps an open *file* that nobody reads soon.

    It would keep it until it needs room, and take fresh memory for each file meanwhile, which costs
    a virtual machine more than the file's bytes (`docs/performance.md`). What is not on the disk
    yet stays, and nothing fails: it is advice.
    """
    _no_longer_needed(file, 0, 0)


def _no_longer_needed(file: int, begin: int, length: int) -> None:
    if hasattr(os, "posix_fadvise"):  # macOS has none
        with suppress(OSError):  # nor have all file systems
            os.posix_fadvise(file, begin, length, os.POSIX_FADV_DONTNEED)
