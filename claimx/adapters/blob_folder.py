"""Media in a plain folder: development, the demo, and a mounted share."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from claimx.domain.errors import Unavailable

_CHUNK_BYTES = 1024 * 1024
_PARTS = ".parts"
_OLD_SECONDS = 24 * 3600.0


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

    def put(self, path: str, source: str, length: int, sha256: str, content_type: str) -> None:
        """Copy the file, durably, and check what was written; see the port."""
        del content_type  # a folder has nowhere to keep it
        target = self._inside(path)
        part = self._parts / uuid4().hex
        with Path(source).open("rb") as file:  # FileNotFoundError: it must be downloaded again
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                self._parts.mkdir(exist_ok=True)
                self._drop_old_parts()
                with part.open("xb") as copy:
                    shutil.copyfileobj(file, copy, _CHUNK_BYTES)
                    copy.flush()
                    os.fsync(copy.fileno())
                _check(part, length, sha256)
                part.replace(target)
                _sync_folder(target.parent)
            except FileNotFoundError:
                raise
            except OSError as error:
                reason = error.strerror or type(error).__name__
                raise Unavailable(f"the media folder cannot be written: {reason}") from error
            finally:
                with suppress(OSError):
                    part.unlink()

    def _drop_old_parts(self) -> None:
        """Remove what nobody is at any more: an upload takes minutes."""
        with os.scandir(self._parts) as parts:
            for part in parts:
                with suppress(FileNotFoundError):  # its own process was faster
                    if self._now() - part.stat().st_mtime > _OLD_SECONDS:
                        Path(part.path).unlink()

    def _inside(self, path: str) -> Path:
        target = (self._root / path).absolute()
        if ".." in Path(path).parts or not target.is_relative_to(self._root):
            msg = f"{path!r} leaves the media folder"
            raise ValueError(msg)
        return target


def _check(part: Path, length: int, sha256: str) -> None:
    """Raise FileNotFoundError when the copy is not the file that was downloaded."""
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if part.stat().st_size != length or found != sha256:
        raise FileNotFoundError("the cached file is no longer what was downloaded")


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
