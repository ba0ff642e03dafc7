"""Bodies that come compressed, taken apart within a bound."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

_GZIP = 16 + zlib.MAX_WBITS
_WINDOWS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": zlib.MAX_WBITS}
# the other registered codings: a body under one of them is not the file yet
_FOREIGN = frozenset(
    ("aes128gcm", "br", "compress", "dcb", "dcz", "exi", "pack200-gzip", "x-compress", "zstd")
)

STEP_BYTES = 64 * 1024
"""What is taken apart at once, and the most that one step gives."""

MOST_MEMBERS = 1000
"""Of a gzip body: each costs a copy of the step's rest, and a million empty ones fit into one."""


class TooLong(ValueError):
    """What a body becomes is longer than the bound."""


class Undecodable(ValueError):
    """A body that is not compressed as it says, or in a way that nobody here takes apart."""


class Decompression:
    """
    A body under the compression *coding*, taken apart while it comes.

    *ended* says whether a compressed stream is over with what came last, *overrun* whether
    anything came after a ``deflate`` one, which has no members. Raises Undecodable for a coding
    that is none of ours.
    """

    def __init__(self, coding: str) -> None:
        if coding not in _WINDOWS:
            raise Undecodable(f"{coding} is not taken apart here")
        self._window = _WINDOWS[coding]
        self._stream = zlib.decompressobj(self._window)
        self._members = 0
        self.ended = self.overrun = False

    @property
    def whole(self) -> bool:
        """Whether the body was one of its coding, to the end and not beyond."""
        return self.ended and not self.overrun

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what *chunk* becomes, `STEP_BYTES` at a time; raises Undecodable."""
        for start in range(0, len(chunk), STEP_BYTES):
            yield from self._step(chunk[start : start + STEP_BYTES])

    def _step(self, rest: bytes) -> Iterator[bytes]:
        more = True
        while rest or more:
            if rest and (self.ended or not self._members):
                if self._members and self._window != _GZIP:
                    self.overrun = True
                    return
                self._begin(rest[0])
            try:
                piece = self._stream.decompress(rest, STEP_BYTES)
            except zlib.error as error:
                raise Undecodable(str(error)) from None
            self.ended = self._stream.eof
            rest = self._stream.unused_data if self.ended else self._stream.unconsumed_tail
            more = len(piece) == STEP_BYTES  # with no input left it may still hold some of it
            if piece:
                yield piece

    def _begin(self, first: int) -> None:
        """Begin a member, or the only stream, at the byte *first*."""
        if self._members == MOST_MEMBERS:
            raise Undecodable(f"more than {MOST_MEMBERS} members")
        if self._window == zlib.MAX_WBITS and first & 0x0F != zlib.DEFLATED:
            self._window = -zlib.MAX_WBITS  # raw, as some hosts understand ``deflate``
        self._members += 1
        self._stream = zlib.decompressobj(self._window)


def coding_in(header: str) -> str | None:
    """
    Return the coding that a ``Content-Encoding`` names, all of them where they are several.

    None for ``identity``, and for what is no coding: some hosts name a charset there, or what
    once was the upload's (``aws-chunked``).
    """
    names = (name.strip().lower() for name in header.split(","))
    return ", ".join(name for name in names if name in _WINDOWS or name in _FOREIGN) or None


def decompressed(body: bytes, encoding: str | None, limit: int) -> bytes:
    """
    Return what *body* becomes under its ``Content-Encoding``, of at most *limit* bytes.

    Under one that is none of compression (some hosts name a charset there) it is itself. Raises
    TooLong as soon as it is too long, and ValueError for what is cut short or not compressed so.
    """
    coding = (encoding or "").strip().lower()
    if coding not in _WINDOWS or not body:
        return body
    stream = Decompression(coding)
    parts: list[bytes] = []
    room = limit
    for part in stream.pieces(body):
        room -= len(part)
        if room < 0:
            raise TooLong
        parts.append(part)
    if not stream.ended:
        raise ValueError("cut short")
    return b"".join(parts)
