"""Files in folders, as an ADLS account keeps them: containers, atomic writes, ETags."""

from __future__ import annotations

import mmap
import os
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from stat import S_ISDIR
from typing import BinaryIO

from claimx.sandbox.staged import Staged

STAGING = ".staging"
_MAX_STAGED = 10_000
_MAPPED_BYTES = 1024 * 1024


class StoreError(Exception):
    """A refusal; *status* and *code* are Azure's."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(status, code, message)
        self.status = status
        self.code = code
        self.message = message or code


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder: *name* relative to its container."""

    name: str
    folder: bool
    size: int
    modified: float
    etag: str


def entry_of(name: str, path: Path) -> Entry:
    """Describe what lies at *path*; raises StoreError when nothing does."""
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(404, "PathNotFound", "The specified path does not exist.") from None
    folder = S_ISDIR(stat.st_mode)
    etag = f'"0x{stat.st_mtime_ns:X}{stat.st_ino & 0xFFFFFFFF:08X}{stat.st_size & 0xFFFF:04X}"'
    return Entry(name, folder, 0 if folder else stat.st_size, stat.st_mtime, etag)


def bytes_of(file: BinaryIO, begin: int, end: int) -> bytes | memoryview:
    """Return a part of a file; much of it is left there until it is sent: files here only grow."""
    if end - begin > _MAPPED_BYTES:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))[begin:end]
    file.seek(begin)
    return file.read(end - begin)


class FolderStore:
    """
    One account below *root*: ``<container>/<path>`` are plain files.

    A file appears whole or not at all: bytes are collected in a staging folder and renamed. What is
    appended to one that has bytes already comes behind them when it is flushed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._staging = root / STAGING
        shutil.rmtree(self._staging, ignore_errors=True)
        self._staging.mkdir(parents=True)
        self._staged = Staged(self._staging, _MAX_STAGED)

    # Where things are.

    def container(self, name: str) -> Path:
        """Return an existing container's folder."""
        path = self._container_path(name)
        if not path.is_dir():
            raise StoreError(404, "ContainerNotFound", "The specified container does not exist.")
        return path

    def _container_path(self, name: str) -> Path:
        if not name or name.startswith(".") or "/" in name or "\\" in name or "\x00" in name:
            raise StoreError(400, "InvalidResourceName", f"container {name!r}")
        return self.root / name

    def place(self, container: str, name: str) -> Path:
        """Return where *name* lies; refuses names that would leave the container."""
        parts = PurePosixPath(name).parts
        if not parts or any(part in {"..", "/"} or "\x00" in part for part in parts):
            raise StoreError(400, "InvalidUri", f"path {name!r}")
        if any(len(part.encode()) > 255 for part in parts):
            raise StoreError(400, "InvalidUri", "a path element is longer than 255 bytes")
        return self.container(container).joinpath(*parts)

    # Containers.

    def create_container(self, name: str) -> None:
        """Create; raises 409 when it exists."""
        path = self._container_path(name)
        if path.exists():
            raise StoreError(409, "ContainerAlreadyExists", "The container already exists.")
        path.mkdir(parents=True)

    def delete_container(self, name: str) -> None:
        """Delete with everything in it."""
        shutil.rmtree(self.container(name))

    def containers(self) -> list[str]:
        """Return the names in order."""
        return sorted(p.name for p in self.root.iterdir() if p.is_dir() and p.name != STAGING)

    # Files.

    def stat(self, container: str, name: str) -> Entry:
        """Describe a path."""
        return entry_of(name, self.place(container, name))

    def put(self, container: str, name: str, content: bytes) -> Entry:
        """Write a whole file; what was appended to one before, and not flushed, goes with it."""
        path = self.place(container, name)
        self._staged.forget((container, name))
        fresh = self._staged.fresh()
        fresh.write_bytes(content)
        return self._settle(fresh, path, name)

    def make_folder(self, container: str, name: str) -> Entry:
        """Create a folder and those above it."""
        path = self.place(container, name)
        if path.is_file():
            raise StoreError(409, "PathAlreadyExists", "a file of that name exists")
        path.mkdir(parents=True, exist_ok=True)
        return entry_of(name, path)

    def append(self, container: str, name: str, position: int, content: bytes) -> None:
        """Stage bytes at *position*; they count once flushed."""
        path = self.place(container, name)
        if not path.is_file():
            raise StoreError(404, "PathNotFound", "The specified path does not exist.")
        tail = self._staged.begun((container, name), path.stat().st_size)
        if tail is None:
            raise StoreError(503, "ServerBusy", "too many files are being appended to")
        if not tail.base <= position <= tail.end:
            raise StoreError(
                400, "InvalidFlushPosition", "the bytes before the position are missing"
            )
        with tail.path.open("r+b") as file:
            file.seek(position - tail.base)
            file.write(content)

    def flush(self, container: str, name: str, position: int) -> Entry:
        """Commit what was appended up to *position*, which must be all of it."""
        path = self.place(container, name)
        tail = self._staged.tail_of((container, name))
        found = entry_of(name, path)
        if position != (found.size if tail is None else tail.end):
            raise StoreError(400, "InvalidFlushPosition", "The uploaded data is not contiguous.")
        if tail is None:
            return found
        self._staged.taken((container, name))
        if not tail.base:
            return self._settle(tail.path, path, name)
        with tail.path.open("rb") as more, path.open("ab") as file:
            shutil.copyfileobj(more, file, _MAPPED_BYTES)
        tail.path.unlink()
        return entry_of(name, path)

    def rename(self, source: tuple[str, str], target: tuple[str, str]) -> Entry:
        """Move a file or folder over what is at *target*."""
        old, new = self.place(*source), self.place(*target)
        if not old.exists():
            raise StoreError(404, "SourcePathNotFound", "The source path does not exist.")
        self._staged.forget(source)
        self._staged.forget(target)
        new.parent.mkdir(parents=True, exist_ok=True)
        os.replace(old, new)  # noqa: PTH105 - says that it replaces
        return entry_of(target[1], new)

    def read(self, container: str, name: str) -> Path:
        """Return the path of a file to read from."""
        path = self.place(container, name)
        if not path.is_file():
            raise StoreError(404, "BlobNotFound", "The specified blob does not exist.")
        return path

    def delete(self, container: str, name: str, *, recursive: bool = True) -> None:
        """Delete a file, or a folder with what is in it."""
        path = self.place(container, name)
        self._staged.forget((container, name))
        if path.is_dir():
            if not recursive and any(path.iterdir()):
                raise StoreError(409, "DirectoryNotEmpty", "The directory is not empty.")
            shutil.rmtree(path)
            return
        try:
            path.unlink()
        except FileNotFoundError:
            raise StoreError(404, "BlobNotFound", "The specified blob does not exist.") from None

    def walk(self, container: str, below: str = "", *, recursive: bool = True) -> list[Entry]:
        """Return entries below a folder in the order of their names; none when it is not there."""
        base = self.container(container)
        start = base.joinpath(*PurePosixPath(below.strip("/")).parts) if below.strip("/") else base
        if ".." in PurePosixPath(below).parts:
            raise StoreError(400, "InvalidUri", f"path {below!r}")
        found: list[Entry] = []
        pending = [start] if start.is_dir() else []
        while pending:
            folder = pending.pop()
            try:
                children = list(os.scandir(folder))
            except FileNotFoundError:
                continue
            for child in children:
                path = Path(child.path)
                name = path.relative_to(base).as_posix()
                try:
                    found.append(entry_of(name, path))
                except StoreError:
                    continue  # deleted meanwhile
                if recursive and child.is_dir():
                    pending.append(path)
        return sorted(found, key=lambda entry: entry.name)

    def _settle(self, fresh: Path, path: Path, name: str) -> Entry:
        try:
            try:
                os.replace(fresh, path)  # noqa: PTH105 - says that it replaces
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                fresh.touch()
                os.replace(fresh, path)  # noqa: PTH105 - as above
        except IsADirectoryError:
            fresh.unlink()
            raise StoreError(409, "ResourceTypeMismatch", "a folder of that name exists") from None
        return entry_of(name, path)
