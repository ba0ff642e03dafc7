"""What comes of an answer over HTTP while libcurl reads it out, and what it is in the end."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache

from claimx.domain.value import value

SMALL_BODY = 64 * 1024
"""Bytes of a body that is not wanted: shorter ones are read away to keep the connection."""

_END_OF_HEAD = frozenset((b"\r\n", b"\n"))
_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w.:-]{1,40})""", re.IGNORECASE)


@value
class Reply:
    """
    What a host answered: the *header_lines* of its last head, the *body* decompressed.

    Of a status other than 2xx the body may be cut off or missing.
    """

    status: int
    header_lines: Sequence[bytes]
    content_type: str
    charset: str | None
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether it is any 2xx."""
        return is_wanted(self.status)

    def header(self, name: str) -> str | None:
        """Return a header of the answer, None without one."""
        return header_in(self.header_lines, name)


class Answer:
    """
    What comes of an answer, as far as it is kept; *status* is 0 until its head is whole.

    *on_refusal* is called once when the head is one of a refusal, and returns a timer.
    """

    def __init__(self, limit: int) -> None:
        self.lines: list[bytes] = []
        self.status = 0
        self.too_long = self.given_up = False
        self.draining: asyncio.TimerHandle | None = None
        self.on_refusal: Callable[[], asyncio.TimerHandle] | None = None
        self._parts: list[bytes] = []
        self._room = limit

    def taken(self) -> bytes:
        """Return the body, and let go of it."""
        body = b"".join(self._parts)
        self._parts.clear()
        return body

    def head(self, line: bytes) -> None:
        """Take a line of a head, or its end."""
        if self.status:
            return  # a trailer
        if line.startswith(b"HTTP/"):
            self.lines = []  # what came before was an interim one (100, 103)
        self.lines.append(line)
        if line in _END_OF_HEAD:
            status = _status_of(self.lines[0])
            if status < 200:  # noqa: PLR2004 - an interim one
                return
            self.status = status
            if not is_wanted(status):
                self._room = min(self._room, SMALL_BODY)
                self.draining = self.on_refusal() if self.on_refusal else None

    def write(self, part: bytes) -> int | None:
        """Keep a part of the body; returns 0, which ends the call, when it is too long."""
        self._room -= len(part)
        if self._room < 0:
            self.too_long = True
            return 0
        self._parts.append(part)
        return None


def is_wanted(status: int) -> bool:
    """Say whether it is any 2xx."""
    return 200 <= status < 300  # noqa: PLR2004 - HTTP; its enumeration costs ten times as much


def header_in(lines: Sequence[bytes], name: str) -> str | None:
    """Return the first header of a *name*, None without one."""
    wanted = name.lower().encode() + b":"
    for line in lines:
        if line[: len(wanted)].lower() == wanted:
            return line[len(wanted) :].strip().decode("latin-1")
    return None


@lru_cache(maxsize=64)
def kind_of(content_type: str) -> tuple[str, str | None]:
    """Return the type, empty without one, and the charset that a ``Content-Type`` names."""
    charset = _CHARSET.search(content_type)
    return content_type.partition(";")[0].strip().lower(), charset[1] if charset else None


def _status_of(line: bytes) -> int:
    """Return the status of a status line, 0 for what is none."""
    with suppress(ValueError, IndexError):
        return int(line.split(None, 2)[1])
    return 0
