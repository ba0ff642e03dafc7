"""A file on its way into the media cache."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from contextlib import suppress

from claimx.adapters.cache_names import name_of, new_part
from claimx.adapters.cache_room import CacheRoom, full


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
