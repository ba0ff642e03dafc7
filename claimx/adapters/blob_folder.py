"""Media in a plain folder: development, the demo, and a mounted share."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from uuid import uuid4

from claimx.domain.errors import Unavailable

_CHUNK_BYTES = 1024 * 1024
_PARTS = ".parts"
_OLD_SECONDS = 24 * 3600.0
_LOOK_SECONDS = 60.0


class FolderStore:
    """
    `claimx.domain.ports.media.BlobStore` below the folder *root*, which is made when it is missing.

    Copies under way lie in its ``.parts``, so a reader of the media never meets one; what a killed
    process left there goes with an upload of a day later.
    """

    def __init__(self, root: str | Path, *, now: Callable[[], float] = time.time) -> None:
        self._root = Path(root).absolute()
        self._parts = self._root / _PARTS
        self._now = now
        self._look_at = 0.0

    def put(self, path: str, source: str, length: int, sha256: str, content_type: str) -> None:
        """Copy the file, durably, and check what is copied; see the port."""
        del content_type  # a folder has nowhere to keep it
        target = self._inside(path)
        part = self._parts / uuid4().hex
        # FileNotFoundError: it must be downloaded again
        with Path(source).open("rb", buffering=0) as file:
            try:
                self._look_after_parts()
                with self._made(part) as copy:
                    _copied(file, copy, length, sha256)
                    os.fsync(copy.fileno())
                    _moved(part, target)
                _sync_folder(target.parent)
            except FileNotFoundError:
                raise
            except OSError as error:
                reason = error.strerror or type(error).__name__
                raise Unavailable(f"the media folder cannot be written: {reason}") from error
            finally:
                with suppress(OSError):
                    part.unlink()

    def _look_after_parts(self) -> None:
        """
        Make the folder of parts, and remove what nobody is at any more; once a minute.

        An upload takes minutes, and what a killed process left is a day old before it goes.
        """
        now = self._now()
        if now < self._look_at:
            return
        self._parts.mkdir(parents=True, exist_ok=True)
        with os.scandir(self._parts) as parts:
            for part in parts:
                with suppress(FileNotFoundError):  # its own process was faster
                    if now - part.stat().st_mtime > _OLD_SECONDS:
                        Path(part.path).unlink()
        self._look_at = now + _LOOK_SECONDS

    def _made(self, part: Path) -> FileIO:
        try:
            return part.open("x+b", buffering=0)
        except FileNotFoundError as error:
            self._look_at = 0.0  # somebody has removed the folder: the next try makes it again
            raise Unavailable("the media folder is gone") from error

    def _inside(self, path: str) -> Path:
        target = (self._root / path).absolute()
        if ".." in Path(path).parts or not target.is_relative_to(self._root):
            msg = f"{path!r} leaves the media folder"
            raise ValueError(msg)
        return target


def _moved(part: Path, target: Path) -> None:
    """Give the file its place, in a folder that is made if it is missing."""
    try:
        part.replace(target)
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.replace(target)


def _copied(file: FileIO, copy: FileIO, length: int, sha256: str) -> None:
    """Copy, or raise FileNotFoundError when it is not the file that was downloaded."""
    digest = hashlib.sha256()
    while piece := file.read(_CHUNK_BYTES):
        digest.update(piece)
        rest = memoryview(piece)
        while rest:  # a write to a nearly full disk may be a short one
            rest = rest[copy.write(rest) or 0 :]
    if copy.tell() != length or digest.hexdigest() != sha256:
        raise FileNotFoundError("the cached file is no longer what was downloaded")


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
