"""What was appended to files and not flushed yet."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Key: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Tail:
    """Bytes that follow the first *base* of a file, in *path*."""

    path: Path
    base: int

    @property
    def end(self) -> int:
        """How long the file is to be."""
        return self.base + self.path.stat().st_size


class Staged:
    """The tails of at most *most* files, in *folder*, which is emptied when the process starts."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder = folder
        self._most = most
        self._tails: dict[Key, Tail] = {}
        self._serial = 0

    def fresh(self) -> Path:
        """Return the path of a new file."""
        self._serial += 1
        return self._folder / f"{os.getpid()}-{self._serial}"

    def tail_of(self, key: Key) -> Tail | None:
        """Return what was appended to a file, if anything was."""
        return self._tails.get(key)

    def begun(self, key: Key, size: int) -> Tail | None:
        """Return its tail, begun behind its *size* bytes if there is none; None: too many files."""
        if key not in self._tails:
            if len(self._tails) >= self._most:
                return None
            tail = Tail(self.fresh(), size)
            tail.path.touch()
            self._tails[key] = tail
        return self._tails[key]

    def taken(self, key: Key) -> None:
        """Forget a tail whose bytes are where they belong."""
        del self._tails[key]

    def forget(self, key: Key) -> None:
        """Drop it."""
        if (tail := self._tails.pop(key, None)) is not None:
            tail.path.unlink(missing_ok=True)
