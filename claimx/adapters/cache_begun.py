"""
What a download that ended early leaves in the media cache, for its next try to go on with.

A file of gigabytes may take longer than one try has, and a worker may be told to end in the midst
of it. What such a file is stands behind its last byte: the *mark*. It is not synced to the disk, so
it is good for as long as the machine runs: a crash of that may leave holes, a crash of a process
none.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

WORTH_BYTES = 8 * 1024 * 1024
"""What is worth going on with: less comes again sooner than it is looked after."""

_MAGIC = b"claimx begun 1\n"
_LONGEST = 4096  # bytes of a mark
_LENGTH_BYTES = 4
_PIECE_BYTES = 1024 * 1024
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Begun:
    """
    The first *length* of *total* bytes of what the media host calls *tag*, a strong ETag.

    *header* is the Content-Type that it gave.
    """

    length: int
    total: int
    tag: str
    header: str | None


def is_worth_keeping(begun: Begun) -> bool:
    """Say whether there is enough of it, and not all, and whether this machine could tell."""
    return bool(begun.tag) and WORTH_BYTES <= begun.length < begun.total and bool(_boot())


def mark(file: int, begun: Begun) -> None:
    """Write behind the last byte of the open *file* what it is. Raises OSError."""
    said = orjson.dumps({**asdict(begun), "boot": _boot()})
    rest = memoryview(said + len(said).to_bytes(_LENGTH_BYTES) + _MAGIC)
    at = begun.length
    while rest:
        written = os.pwrite(file, rest, at)
        rest, at = rest[written:], at + written


def unmarked(file: int) -> Begun | None:
    """
    Take the mark off the open *file*; None when it has none, or one from before a restart.

    Raises OSError.
    """
    size = os.fstat(file).st_size
    tail = os.pread(file, _LONGEST, max(0, size - _LONGEST))
    said, magic = tail[: -len(_MAGIC)], tail[-len(_MAGIC) :]
    count = int.from_bytes(said[-_LENGTH_BYTES:])
    if magic != _MAGIC or count > len(said) - _LENGTH_BYTES:
        return None
    try:
        found: dict[str, Any] = orjson.loads(said[-_LENGTH_BYTES - count : -_LENGTH_BYTES])
        boot, begun = found.pop("boot"), Begun(**found)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    if boot != _boot() or begun.length != size - len(_MAGIC) - _LENGTH_BYTES - count:
        return None
    os.ftruncate(file, begun.length)
    return begun


def hashed(file: int, length: int) -> Any:
    """Return the SHA-256 over the first *length* bytes, to go on with. Raises OSError."""
    digest, at = hashlib.sha256(), 0
    while at < length:
        piece = os.pread(file, min(_PIECE_BYTES, length - at), at)
        if not piece:
            msg = "a begun file is shorter than its mark says"
            raise OSError(msg)
        digest.update(piece)
        at += len(piece)
    return digest


def _boot() -> str:
    """Return what names this run of the machine, empty where nothing does."""
    try:
        return _BOOT.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
