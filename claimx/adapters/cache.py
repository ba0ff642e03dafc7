"""
The media cache: a folder on the worker's own disk, between a download and its upload.

Files are named by their media id and their content (`cache_names`), so a file is never replaced by
another one while somebody reads it, and the sweeper knows whose it is. Several processes share a
folder; it is one *node*.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from claimx.adapters import cache_folder
from claimx.adapters.cache_names import is_name, is_part, media_id_in, name_of, new_part
from claimx.adapters.cache_node import node_of
from claimx.domain.errors import DiskFull, TooLarge, TooLargeNow
from claimx.domain.ports.media import CacheEntry

_RECOUNT_SECONDS = 30.0
_LOOK_SECONDS = 1.0  # a full cache of many files must not be read through for each refusal
_ROOM_SHARE = 0.1  # of the bound: with so much left, what has no room is large, not the cache full
_MEBIBYTE = 1024 * 1024


class DiskCache:
    """
    The folder *root*, held within *max_bytes* and leaving *spare_bytes* of the disk free.

    Its quota is exact for one process; what other processes add is counted every half minute,
    so together they may overshoot by what they begin in that time. What others have announced and
    not written yet is not counted, so they alone may reach into the spare bytes.
    Its files lie in a folder of their own (`cache_folder`). They are their owner's alone, unless
    they are to be *shared*: with whoever the umask lets read a file, once they have a second name
    where media go. In the cache that folder keeps others out.
    Raises OSError when a folder cannot be made.
    """

    def __init__(
        self,
        root: str | Path,
        max_bytes: int,
        *,
        spare_bytes: int = 64 * _MEBIBYTE,
        shared: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._root = Path(root).absolute()
        self._max_bytes = max_bytes
        self._spare_bytes = spare_bytes
        self._now = now
        self._lock = threading.Lock()
        self._used = 0
        self._announced = 0  # of that, what is not in its file yet
        self._recount_at = self._look_at = 0.0
        self._shared = shared
        self._file_mode = 0o600
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.node = node_of(self._root)
        """The folder's identity: the same for all processes that share it."""
        self.folder = self._made()
        self._folder = str(self.folder)  # for each file: a `Path` takes longer than most calls
        cache_folder.bring_in(self._root, self.folder, self._now())

    def _made(self) -> Path:
        """Make the folder of the files unless it is there, and learn who may enter it."""
        folder = cache_folder.made(self._root, self.node)
        is_private = not folder.stat().st_mode & 0o077
        self._file_mode = 0o666 if self._shared and is_private else 0o600
        return folder

    def _made_again(self) -> None:
        """Make what somebody has removed; it stays this node's, for a queue is named so."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        node_of(self._root, self.node)
        self._made()

    def path(self, name: str) -> str:
        """Return where a cached file lies; raises ValueError for what is no name of a file here."""
        if not is_name(name):
            msg = f"{name[:80]!r} is not the name of a cached file"
            raise ValueError(msg)
        return f"{self._folder}/{name}"

    def begin(self, expected: int = 0) -> Incoming:
        """
        Begin a file of about *expected* bytes; raises DiskFull when there is no room for it.

        The caller must `Incoming.keep` or `Incoming.discard` it. Raises TooLarge for one that
        has no room even alone.
        """
        self.check_length(expected)
        self.reserve(expected)
        return Incoming(self, self._folder, expected, self._file_mode)

    def remove(self, name: str) -> None:
        """Remove a cached file; one that is gone already is fine."""
        path = self.path(name)
        try:
            length = os.stat(path).st_size
            os.unlink(path)
        except FileNotFoundError:
            return
        self.release(length)

    def entries(self, limit: int, older_than_seconds: float = 0.0) -> list[CacheEntry]:
        """Return up to *limit* files not touched for *older_than_seconds*, oldest first."""
        now = self._now()
        found = [
            CacheEntry(name, media_id_in(name), age)
            for name, _, modified in self._files()
            if (age := max(0.0, now - modified)) >= older_than_seconds and not is_part(name)
        ]
        found.sort(key=lambda entry: -entry.age_seconds)
        return found[:limit]

    def sweep(self, older_than_seconds: float) -> int:
        """
        Remove what was not touched for *older_than_seconds*; returns how many files that were.

        Half-written files of processes that died go the same way.
        """
        cache_folder.bring_in(self._root, self.folder, self._now())
        removed = 0
        for name, length, modified in list(self._files()):
            if self._now() - modified >= older_than_seconds:
                (self.folder / name).unlink(missing_ok=True)
                self.release(length)
                removed += 1
        return removed

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
                        self._made_again()
                        self._recount_at = 0.0
                        self._reserve(count)
        except OSError as error:
            raise full(error) from error

    def _reserve(self, count: int) -> None:
        now, full_now = self._now(), self._used + count > self._max_bytes
        if now >= self._recount_at or (full_now and now >= self._look_at):
            self._used = sum(length for _, length, _ in self._files()) + self._announced
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

    def _no_room(self, left: int, text: str) -> DiskFull:
        """Return the error of a file for which the *left* bytes are too few."""
        return (TooLargeNow if left >= self._max_bytes * _ROOM_SHARE else DiskFull)(text)

    def release(self, count: int, announced: int = 0) -> None:
        """Count *count* bytes out, and *announced* ones that have come or never will."""
        with self._lock:
            self._used = max(0, self._used - count)
            self._announced -= announced

    def _files(self) -> Iterator[tuple[str, int, float]]:
        try:
            folder = os.scandir(self._folder)
        except FileNotFoundError:  # somebody removed it: the next download makes it again
            return
        with folder:
            for entry in folder:
                if is_name(entry.name) or is_part(entry.name):
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    yield entry.name, status.st_size, status.st_mtime


class Incoming:
    """
    A file on its way into the cache: counted and hashed while it is written.

    It is made in *folder* with the first write; `reserve` said before that there is room. The
    umask takes away from its *mode*.
    """

    def __init__(self, cache: DiskCache, folder: str, expected: int, mode: int) -> None:
        self._cache = cache
        self._reserved = expected
        self._hash = hashlib.sha256()
        self._path = f"{folder}/{new_part()}"
        self._mode = mode
        self._file: int | None = None
        self._over = False  # kept, or discarded
        self._turn = threading.Lock()  # a cancelled download discards while a thread still writes
        self.length = 0

    @property
    def sha256(self) -> str:
        """The hash of what was written so far."""
        return self._hash.hexdigest()

    def write(self, chunk: bytes | bytearray) -> None:
        """Append; raises DiskFull when disk or quota are full, TooLarge as `DiskCache.begin`."""
        rest = memoryview(chunk)
        with self._turn:
            beyond = self.length + len(chunk) - self._reserved
            if beyond > 0 and not self._over:
                self._cache.check_length(self.length + len(chunk))
                self._cache.reserve(beyond)
                self._reserved += beyond
            try:
                file = self._opened()
                while rest:  # a write to a nearly full disk may be a short one
                    rest = rest[os.write(file, rest) :]
            except OSError as error:
                raise full(error) from error
            self._hash.update(chunk)
            self.length += len(chunk)
            self._cache.release(0, len(chunk))

    def keep(self, media_id: str) -> str:
        """
        Make it a cached file, synced to the disk; returns its name. Raises DiskFull.

        Its folder is not: whoever uploads it compares length and hash, so a file that a crash of
        the machine takes is downloaded again.
        """
        name = name_of(media_id, self.sha256)
        with self._turn:
            try:
                os.fsync(self._opened())  # an empty one was not written to
                self._close()
                os.replace(self._path, self._cache.path(name))
            except OSError as error:
                raise full(error) from error
            self._over = True
            spare = self._reserved - self.length
            self._cache.release(spare, spare)
        return name

    def discard(self) -> None:
        """Leave nothing half-written behind; safe at any time, a kept file stays."""
        with self._turn:
            over, self._over = self._over, True
            with suppress(OSError):  # of a file that nobody wants
                self._close()
            if not over:
                with suppress(OSError):  # there is none before the first write
                    os.unlink(self._path)
                self._cache.release(self._reserved, self._reserved - self.length)

    def _opened(self) -> int:
        """Return the open file; raises OSError, of one that was discarded meanwhile as well."""
        if self._over:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if self._file is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            self._file = os.open(self._path, flags, self._mode)
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None  # whatever comes of it, never closed twice
            os.close(file)


def full(error: OSError) -> DiskFull:
    """Return our error for one of the disk's; all of them pause the stage until it is seen to."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull("the disk of the cache is full")
    reason = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return DiskFull(f"the cache cannot be written ({reason})")
