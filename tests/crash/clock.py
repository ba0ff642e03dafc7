"""Time that a test moves on: the wall clock, what Redis holds for a while, the age of files."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

GATE = b"claimx:gate:"
_ENDS = (b"slots:", b"waiting:", b"processes:ends")  # sorted sets of moments in milliseconds
_MOMENTS = (b"open_until", b"trial_until")


class Clock:
    """
    The wall clock of this process, *offset* seconds ahead of the machine's.

    The offset is kept in the file `kept`, so that whoever comes after a death is not behind.
    """

    def __init__(self) -> None:
        self.offset = 0.0
        self.real = time.time
        self.kept: Path | None = None

    def __call__(self) -> float:
        return self.real() + self.offset

    def install(self) -> None:
        """Become ``time.time``; before anything is imported that keeps the function."""
        time.time = self

    def go_on(self, kept: Path) -> None:
        """Take the time up where another process of the same folder left it."""
        self.kept = kept
        self.offset = float(kept.read_text()) if kept.exists() else 0.0

    def pass_(self, seconds: float, client: Any, files: Path) -> None:
        """Let time pass here, for locks, slots and circuits in Redis, and for the *files*."""
        self.offset += seconds
        if self.kept is not None:
            self.kept.write_text(repr(self.offset))
        age(client, round(seconds * 1000))
        for file in files.rglob("*"):
            status = file.stat()
            os.utime(file, (status.st_atime - seconds, status.st_mtime - seconds))


def age(client: Any, lapse: int) -> None:
    """Bring what the gates keep in Redis *lapse* milliseconds nearer to its end."""
    pipe = client.pipeline(transaction=False)
    for key in client.scan_iter(GATE + b"*", count=1000):
        name = key.removeprefix(GATE)
        left = client.pttl(key)
        if left >= 0:
            pipe.pexpire(key, max(1, left - lapse))
        if name.startswith(_ENDS):
            for member, end in client.zrange(key, 0, -1, withscores=True):
                pipe.zadd(key, {member: end - lapse})
        if name.startswith(b"circuit:"):
            for field in _MOMENTS:
                until = float(client.hget(key, field) or 0)
                pipe.hset(key, field, int(max(0.0, until - lapse)))
    pipe.execute()
