"""How many bytes the media cache may still take."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterable

from claimx.domain.errors import DiskFull, TooLarge, TooLargeNow
from claimx.domain.times import seconds_left

_RECOUNT_SECONDS = 30.0
_LOOK_SECONDS = 1.0  # a full cache of many files must not be read through for each refusal
_ROOM_SHARE = 0.1  # of the bound: with so much left, what has no room is large, not the cache full


class CacheRoom:
    """
    The room of a *folder* that is held within *max_bytes* and leaves *spare_bytes* of its disk.

    It is exact for one process; what other processes add is counted every half minute, by the
    *lengths* of all files, so together they may overshoot by what they begin in that time. What
    others have announced and not written yet is not counted, so they alone may reach into the
    spare bytes. A folder that is gone is made by *make_again*. Before a file is refused, what need
    not be there is removed by *give_way*, which says whether there was any.
    """

    def __init__(
        self,
        folder: str,
        max_bytes: int,
        spare_bytes: int,
        *,
        lengths: Callable[[], Iterable[int]],
        make_again: Callable[[], None],
        give_way: Callable[[], bool],
        now: Callable[[], float],
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._spare_bytes = spare_bytes
        self._lengths = lengths
        self._make_again = make_again
        self._give_way = give_way
        self._now = now
        self._lock = threading.Lock()
        self._used = 0
        self._announced = 0  # of that, what is not in its file yet
        self._recount_at = self._look_at = self._give_way_at = 0.0

    def check_length(self, length: int) -> None:
        """Raise TooLarge for a file of *length* bytes when nothing would make room for it."""
        if length > self._max_bytes:
            raise TooLarge(
                f"the file has {length} bytes or more, the whole cache {self._max_bytes}"
                " (CLAIMX_CACHE_MAX_BYTES)"
            )

    def reserve(self, count: int) -> None:
        """Count *count* bytes in that are to come; raises DiskFull when there is no room."""
        try:
            with self._lock:
                if count > 0:
                    try:
                        self._reserve(count)
                    except FileNotFoundError:  # somebody removed the folder
                        self._make_again()
                        self._reserve_anew(count)
                    except DiskFull:
                        if not self._may_give_way():
                            raise
                        self._reserve_anew(count)
        except OSError as error:
            raise full(error) from error

    def _reserve(self, count: int) -> None:
        now, full_now = self._now(), self._used + count > self._max_bytes
        recounted = seconds_left(self._recount_at, now, _RECOUNT_SECONDS)
        looked = seconds_left(self._look_at, now, _LOOK_SECONDS)
        if not recounted or (full_now and not looked):
            self._used = sum(self._lengths()) + self._announced
            self._recount_at, self._look_at = now + _RECOUNT_SECONDS, now + _LOOK_SECONDS
        if self._used + count > self._max_bytes:
            raise self._no_room(
                self._max_bytes - self._used,
                f"the cache holds {self._used} of {self._max_bytes} bytes: no room for"
                f" {count} more (CLAIMX_CACHE_MAX_BYTES)",
            )
        disk = os.statvfs(self._folder)
        left = disk.f_bavail * disk.f_frsize - self._announced - self._spare_bytes
        if left < count:
            raise self._no_room(left, "the disk of the cache is full")
        self._used += count
        self._announced += count

    def _reserve_anew(self, count: int) -> None:
        self._recount_at = 0.0
        self._reserve(count)

    def _may_give_way(self) -> bool:
        """Make room, if there is something that need not be there; looks once a second."""
        now = self._now()
        if seconds_left(self._give_way_at, now, _LOOK_SECONDS):
            return False
        self._give_way_at = now + _LOOK_SECONDS
        return self._give_way()

    def _no_room(self, left: int, text: str) -> DiskFull:
        """Return the error of a file for which the *left* bytes are too few."""
        return (TooLargeNow if left >= self._max_bytes * _ROOM_SHARE else DiskFull)(text)

    def release(self, count: int, announced: int = 0) -> None:
        """Count *count* bytes out, and *announced* ones that have come or never will."""
        with self._lock:
            self._used = max(0, self._used - count)
            self._announced -= announced


def full(error: OSError) -> DiskFull:
    """Return our error for one of the disk's; all of them pause the stage until it is seen to."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull("the disk of the cache is full")
    reason = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return DiskFull(f"the cache cannot be written ({reason})")
