"""Media in a plain folder: development, the demo, and a mounted share."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from claimx.adapters.durable_names import DurableNames
from claimx.adapters.file_calls import SMALL_BYTES, FileCalls, forget_pages, unread
from claimx.domain.errors import Unavailable
from claimx.domain.times import age, seconds_left

_PIECE_BYTES = 256 * 1024
_PARTS = ".parts"
_OLD_SECONDS = 24 * 3600.0
_LOOK_SECONDS = 60.0


class FolderStore:
    """
    `claimx.domain.ports.media.BlobStore` below the folder *root*, which is made when it is missing.

    Beside the cache in one file system, a stored file is a second name of the cached one: its bytes
    are written once. Elsewhere it is copied. What is not in its place yet lies in ``.parts``, so a
    reader of the media never meets it; what a killed process left there goes with an upload of a
    day later. Who may read ``.parts`` may read the files. *side_by_side* bounds its threads, for
    the calls of a file system block.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        side_by_side: int = 10,
        now: Callable[[], float] = time.time,
    ) -> None:
        # not `Path`s: for each file they take longer than some of the calls
        self._root = str(Path(root).absolute())
        self._parts = f"{self._root}/{_PARTS}"
        self._now = now
        self._look_at = 0.0
        self._mode = 0o600
        self._device = -1
        self._names = DurableNames(self._root)
        self._of_thread = threading.local()
        self._calls = FileCalls(side_by_side)

    async def put(
        self, path: str, source: str, length: int, sha256: str, content_type: str
    ) -> None:
        """Store the file, durably, and check what is stored; see the port."""
        del content_type  # a folder has nowhere to keep it
        quick = length <= SMALL_BYTES and self._is_beside(source)
        make = self._calls.run if quick else self._calls.run_apart
        await make(self._put, path, source, length, sha256)

    async def close(self) -> None:
        """Let the threads end."""
        self._calls.close()

    def _is_beside(self, source: str) -> bool:
        """
        Say whether the folder lies on the cache's own disk.

        A share does not: while its server is away, whoever asks it for something hangs.
        """
        try:
            return os.stat(source).st_dev == self._device
        except OSError:
            return False  # `_put` says what is wrong

    def _put(self, path: str, source: str, length: int, sha256: str) -> None:
        target = self._inside(path)
        try:
            file = os.open(source, os.O_RDONLY)  # FileNotFoundError: it must be downloaded again
        except OSError as error:
            raise unread(error) from error
        try:
            self._look_after_parts()
            if os.fstat(file).st_dev == self._device:
                self._check(file, length, sha256)
                if self._linked(file, source, target):
                    return
                os.lseek(file, 0, os.SEEK_SET)
            self._copy(file, target, length, sha256)
        except FileNotFoundError:
            raise
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise Unavailable(f"the media folder cannot be written: {reason}") from error
        finally:
            os.close(file)

    def _linked(self, file: int, source: str, target: str) -> bool:
        """Give the cached file a second name, or say that it must be copied."""
        try:
            if stat.S_IMODE(os.fstat(file).st_mode) != self._mode:
                os.fchmod(file, self._mode)
                os.fsync(file)  # its bytes were before the cache gave it a name
            try:
                _link(file, source, target)
            except FileExistsError:
                with self._part() as part:
                    _link(file, source, part)
                    os.replace(part, target)
            except FileNotFoundError:
                self._names.make_folder_of(target)
                _link(file, source, target)
            self._names.settle(target)
            forget_pages(file)
        except OSError:  # no links here; what is worse than that, the copy will tell
            return False
        return True

    def _copy(self, file: int, target: str, length: int, sha256: str) -> None:
        with self._part() as part:
            with self._made(part) as copy:
                self._check(file, length, sha256, copy)
                os.fsync(copy)
                forget_pages(copy)
            forget_pages(file)
            try:
                os.replace(part, target)
            except FileNotFoundError:
                self._names.make_folder_of(target)
                os.replace(part, target)
        self._names.settle(target)

    def _check(self, file: int, length: int, sha256: str, copy: int | None = None) -> None:
        """Read it, into *copy* if there is one; FileNotFoundError: not what was downloaded."""
        digest, read, room = hashlib.sha256(), 0, self._room()
        while (count := _read(file, room)) > 0:
            piece = room[:count]
            digest.update(piece)
            read += count
            while copy is not None and piece:  # a write to a nearly full disk may be a short one
                piece = piece[os.write(copy, piece) :]
            if read == length and count < len(room):
                break  # the end, without asking once more
        if read != length or digest.hexdigest() != sha256:
            raise FileNotFoundError("the cached file is no longer what was downloaded")

    def _room(self) -> memoryview:
        """Return the thread's own buffer: a new one for each file is new memory each time."""
        if not hasattr(self._of_thread, "room"):
            self._of_thread.room = memoryview(bytearray(_PIECE_BYTES))
        room: memoryview = self._of_thread.room
        return room

    @contextmanager
    def _part(self) -> Iterator[str]:
        """Yield a place of our own in ``.parts``; nothing is left there."""
        part = f"{self._parts}/{token_hex(16)}"
        try:
            yield part
        finally:
            with suppress(OSError):  # it has its place by now
                os.unlink(part)

    @contextmanager
    def _made(self, part: str) -> Iterator[int]:
        try:
            copy = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, self._mode)
        except FileNotFoundError as error:
            self._look_at = 0.0  # somebody has removed the folder: the next try makes it again
            raise Unavailable("the media folder is gone") from error
        try:
            yield copy
        finally:
            os.close(copy)

    def _look_after_parts(self) -> None:
        """
        Make the folder of parts, and remove what nobody is at any more; once a minute.

        An upload takes minutes, and what a killed process left is a day old before it goes.
        """
        now = self._now()
        if seconds_left(self._look_at, now, _LOOK_SECONDS):
            return
        self._names.make(self._parts)
        status = os.stat(self._parts)
        self._mode, self._device = status.st_mode & 0o666, status.st_dev
        with os.scandir(self._parts) as parts:
            for part in parts:
                with suppress(OSError):  # its own process was faster, or it is not ours to remove
                    if age(part.stat().st_mtime, now) > _OLD_SECONDS:
                        os.unlink(part.path)
        self._look_at = now + _LOOK_SECONDS

    def _inside(self, path: str) -> str:
        if ".." in path.split("/") or path.startswith("/"):
            msg = f"{path!r} leaves the media folder"
            raise ValueError(msg)
        return f"{self._root}/{path}"


def is_folder(root: str) -> bool:
    """Say whether ``ONELAKE_CLAIMX_PATH`` names a folder, and not an ``abfss://`` URI."""
    return "://" not in root


def _read(file: int, room: memoryview) -> int:
    try:
        return os.readv(file, [room])
    except OSError as error:
        raise unread(error) from error


def _link(file: int, source: str, name: str) -> None:
    """Name the *file* that was checked and synced; OSError when *source* is another by now."""
    os.link(source, name)
    if not os.path.samestat(os.fstat(file), os.stat(name)):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
