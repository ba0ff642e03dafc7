"""Names of files and folders that outlast a crash of the machine: synced where they stand."""

from __future__ import annotations

import os

_MOST_SETTLED = 10_000


class DurableNames:
    """
    The names below the folder *root*, for threads of a process.

    A file's own folder is synced for each file. Those above it are once: whoever made one of them,
    maybe another process a moment ago, may not have come to that.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._settled: set[str] = set()  # folders whose own names are durable

    def make(self, folder: str) -> None:
        """Make a folder in the root, which may be missing with folders above it."""
        above, changed = self._root, []
        while not os.path.isdir(above):
            above = os.path.dirname(above)
            changed.append(above)
        os.makedirs(folder, exist_ok=True)
        for one in changed:
            _sync(one)

    def make_folder_of(self, target: str) -> None:
        """Make the folder of a file, which was missing."""
        folder = os.path.dirname(target)
        self._settled.discard(folder)
        os.makedirs(folder, exist_ok=True)

    def settle(self, target: str) -> None:
        """Make the name of a file durable, and those of the folders that it lies in."""
        folder = above = os.path.dirname(target)
        _sync(folder)
        if folder in self._settled:
            return
        while above != self._root:
            above = os.path.dirname(above)
            _sync(above)
        if len(self._settled) >= _MOST_SETTLED:
            self._settled.clear()
        self._settled.add(folder)


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
