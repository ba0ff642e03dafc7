"""
The media cache: a folder on the worker's own disk, between a download and its upload.

Files are named by their media id and their content (`cache_names`), so a file is never replaced by
another one while somebody reads it, and the sweeper knows whose it is. Several processes share a
folder; it is one *node*.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from claimx.adapters import cache_folder
from claimx.adapters.cache_begun import Begun
from claimx.adapters.cache_incoming import Incoming
from claimx.adapters.cache_names import begun_of, is_begun, is_name, is_ours, media_id_in, new_part
from claimx.adapters.cache_node import node_of
from claimx.adapters.cache_room import CacheRoom
from claimx.domain.ports.media import CacheEntry
from claimx.domain.times import age

_MEBIBYTE = 1024 * 1024


class DiskCache:
    """
    The folder *root*, held within *max_bytes* and leaving *spare_bytes* of the disk free.

    `CacheRoom` says how exact that is.
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
        self._now = now
        self._shared = shared
        self._file_mode = 0o600
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.node = node_of(self._root)
        """The folder's identity: the same for all processes that share it."""
        self.folder = self._made()
        self._folder = str(self.folder)  # for each file: a `Path` takes longer than most calls
        cache_folder.bring_in(self._root, self.folder, self._now())
        self._room = CacheRoom(
            self._folder,
            max_bytes,
            spare_bytes,
            lengths=lambda: (length for _, length, _ in self._files()),
            make_again=self._made_again,
            give_way=self._give_way,
            now=now,
        )

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
        self._room.check_length(expected)
        self._room.reserve(expected)
        return Incoming(self._room, self._folder, expected, self._file_mode)

    def has_begun(self, media_id: str) -> bool:
        """Say whether an earlier try has left some of a file."""
        return os.access(self.begun(media_id), os.F_OK)

    def go_on(self, media_id: str) -> tuple[Incoming, Begun] | None:
        """
        Return the file that an earlier try has left some of, and what there is of it.

        Whoever gets it has it alone, and must `Incoming.keep`, `leave` or `discard` it. None when
        another one was faster, or it is no good. Reads all of it. Raises DiskFull when there is no
        room for the rest, TooLarge as `begin`.
        """
        part = f"{self._folder}/{new_part()}"
        try:
            os.rename(self.begun(media_id), part)
        except OSError:
            return None
        return Incoming.of_part(self._room, self._folder, part, self._file_mode)

    def begun(self, media_id: str) -> str:
        """Return where what a try leaves of a file lies (`Incoming.leave`)."""
        return f"{self._folder}/{begun_of(media_id)}"

    def _give_way(self) -> bool:
        """Remove what was begun, by which nobody is held up; says whether there was any."""
        found = [(name, length) for name, length, _ in self._files() if is_begun(name)]
        for name, _ in found:
            (self.folder / name).unlink(missing_ok=True)
        return bool(found)

    def remove(self, name: str) -> None:
        """Remove a cached file; one that is gone already is fine."""
        path = self.path(name)
        try:
            length = os.stat(path).st_size
            os.unlink(path)
        except FileNotFoundError:
            return
        self._room.release(length)

    def entries(self, limit: int, older_than_seconds: float = 0.0) -> list[CacheEntry]:
        """Return up to *limit* files not touched for *older_than_seconds*, oldest first."""
        now = self._now()
        found = [
            CacheEntry(name, media_id_in(name), old)
            for name, _, modified in self._files()
            if (old := age(modified, now)) >= older_than_seconds and is_name(name)
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
            if age(modified, self._now()) >= older_than_seconds:
                (self.folder / name).unlink(missing_ok=True)
                self._room.release(length)
                removed += 1
        return removed

    def _files(self) -> Iterator[tuple[str, int, float]]:
        try:
            folder = os.scandir(self._folder)
        except FileNotFoundError:  # somebody removed it: the next download makes it again
            return
        with folder:
            for entry in folder:
                if is_ours(entry.name):
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    yield entry.name, status.st_size, status.st_mtime
