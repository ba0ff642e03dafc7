"""A file on its way into the media cache."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from contextlib import suppress
from dataclasses import replace
from typing import Self

import structlog

from claimx.adapters.cache_begun import Begun, hashed, is_worth_keeping, mark, unmarked
from claimx.adapters.cache_names import name_of, new_part
from claimx.adapters.cache_room import CacheRoom, full
from claimx.adapters.file_calls import begin_writing

log = structlog.get_logger(__name__)


class Incoming:
    """
    A file on its way into the cache: counted and hashed while it is written.

    It is made in *folder* with the first write; *room* was reserved for *expected* bytes. The
    umask takes away from its *mode*.
    """

    def __init__(self, room: CacheRoom, folder: str, expected: int, mode: int) -> None:
        self._room = room
        self._folder = folder
        self._reserved = expected
        self._hash = hashlib.sha256()
        self._path = f"{folder}/{new_part()}"
        self._mode = mode
        self._file: int | None = None
        self._over = False  # kept, or discarded
        self._turn = threading.Lock()  # a cancelled download discards while a thread still writes
        self.length = 0

    @classmethod
    def of_part(
        cls, room: CacheRoom, folder: str, part: str, mode: int
    ) -> tuple[Self, Begun] | None:
        """
        Return the file whose first bytes are in *part*, and what there is of it; reads them all.

        None for a part that is no good: it is removed, as it is when this raises DiskFull because
        there is no room for the rest, or TooLarge.
        """
        file, found = -1, None
        try:
            file = os.open(part, os.O_RDWR)
            if (begun := unmarked(file)) is not None:
                digest = hashed(file, begun.length)
                os.lseek(file, begun.length, os.SEEK_SET)
                room.check_length(begun.total)
                room.reserve(begun.total - begun.length)
                found = cls(room, folder, begun.total, mode)
                found._path, found._file, found._hash = part, file, digest
                found.length = begun.length
                return found, begun
        except OSError as error:
            log.warning("a begun file cannot be read; it is begun anew", reason=str(error))
        finally:
            if found is None:
                with suppress(OSError):
                    os.close(file)
                with suppress(OSError):
                    length = os.stat(part).st_size
                    os.unlink(part)
                    room.release(length)
        return None

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
                self._room.check_length(self.length + len(chunk))
                self._room.reserve(beyond)
                self._reserved += beyond
            try:
                file = self._opened()
                while rest:  # a write to a nearly full disk may be a short one
                    rest = rest[os.write(file, rest) :]
                begin_writing(file, self.length, len(chunk))
            except OSError as error:
                raise full(error) from error
            self._hash.update(chunk)
            self.length += len(chunk)
            self._room.release(0, len(chunk))

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
                os.replace(self._path, f"{self._folder}/{name}")
            except OSError as error:
                raise full(error) from error
            self._over = True
            spare = self._reserved - self.length
            self._room.release(spare, spare)
        return name

    def head(self, count: int) -> bytes:
        """Return the first bytes of one that goes on. Raises OSError."""
        return os.pread(self._opened(), count, 0)

    def leave(self, path: str, begun: Begun) -> None:
        """
        End it for now, under *path*; discards what is not worth it, or cannot be kept.

        The length of *begun* is this file's own: a thread may still have written.
        """
        with self._turn:
            begun = replace(begun, length=self.length)
            if self._file is not None and not self._over and is_worth_keeping(begun):
                with suppress(OSError):
                    mark(self._file, begun)
                    os.replace(self._path, path)
                    self._over = True
                    spare = self._reserved - self.length
                    self._room.release(spare, spare)
                    self._close()
                    return
        self.discard()

    def discard(self) -> None:
        """Leave nothing half-written behind; safe at any time, a kept file stays."""
        with self._turn:
            over, self._over = self._over, True
            with suppress(OSError):  # of a file that nobody wants
                self._close()
            if not over:
                with suppress(OSError):  # there is none before the first write
                    os.unlink(self._path)
                self._room.release(self._reserved, self._reserved - self.length)

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
