"""Bodies that come compressed, taken apart within a bound."""

from __future__ import annotations

import zlib

_GZIP = 16 + zlib.MAX_WBITS
_WINDOWS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": zlib.MAX_WBITS}


MOST_MEMBERS = 100
"""Of a gzip body: each costs a copy of what follows, and a million empty ones fit into one."""


class TooLong(ValueError):
    """What a body becomes is longer than the bound."""


def decompressed(body: bytes, encoding: str | None, limit: int) -> bytes:
    """
    Return what *body* becomes under its ``Content-Encoding``, of at most *limit* bytes.

    Under one that is none of compression (some hosts name a charset there) it is itself. Raises
    TooLong as soon as it is too long, and ValueError for what is cut short or not compressed so.
    """
    window = _WINDOWS.get((encoding or "").strip().lower())
    if window is None or not body:
        return body
    if window == zlib.MAX_WBITS and body[0] & 0x0F != zlib.DEFLATED:
        window = -zlib.MAX_WBITS  # raw, as some hosts understand ``deflate``
    parts: list[bytes] = []
    rest, room = body, limit
    while rest:  # gzip may have several members
        if len(parts) == MOST_MEMBERS:
            raise ValueError(f"more than {MOST_MEMBERS} members")
        one = zlib.decompressobj(window)
        try:
            part = one.decompress(rest, room + 1)
        except zlib.error as error:
            raise ValueError(str(error)) from None
        if len(part) > room:
            raise TooLong
        if not one.eof:
            raise ValueError("cut short")
        parts.append(part)
        room -= len(part)
        rest = one.unused_data if window == _GZIP else b""
    return b"".join(parts)
