"""
What files of the media cache are called.

By their media id, in hexadecimal, which no id can break out of, and by their content.
"""

from __future__ import annotations

import hashlib
import re
from secrets import token_hex

_LONGEST_ID = 118  # bytes that still fit into a file name once encoded
_NAME = re.compile(r"(?:i(?P<id>(?:[0-9a-f]{2}){1,118})|h[0-9a-f]{40})\.[0-9a-f]{16}")
_PART = re.compile(r"\.[0-9a-f]{32}\.part")
_BEGUN = re.compile(r"\.[0-9a-f]{40}\.begun")


def name_of(media_id: str, sha256: str) -> str:
    """Return the name of a media item's file whose content has this hash."""
    raw = media_id.encode("utf-8", "surrogatepass")
    if not raw or len(raw) > _LONGEST_ID:
        whose = f"h{hashlib.sha256(raw).hexdigest()[:40]}"
    else:
        whose = f"i{raw.hex()}"
    return f"{whose}.{sha256[:16]}"


def is_name(name: str) -> bool:
    """Say whether it is a name that `name_of` makes."""
    return _NAME.fullmatch(name) is not None


def media_id_in(name: str) -> str | None:
    """Return whose file it is, None where the name does not tell."""
    found = _NAME.fullmatch(name)
    if found is None or found["id"] is None:
        return None
    try:
        return bytes.fromhex(found["id"]).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None


def new_part() -> str:
    """Return a name for a file that is not whole yet."""
    return f".{token_hex(16)}.part"


def is_part(name: str) -> bool:
    """Say whether it is a name that `new_part` makes."""
    return _PART.fullmatch(name) is not None


def begun_of(media_id: str) -> str:
    """Return the name of what an earlier try has left of a media item's file."""
    raw = media_id.encode("utf-8", "surrogatepass")
    return f".{hashlib.sha256(raw).hexdigest()[:40]}.begun"


def is_begun(name: str) -> bool:
    """Say whether it is a name that `begun_of` makes."""
    return _BEGUN.fullmatch(name) is not None


def is_ours(name: str) -> bool:
    """Say whether it is a file of a cache: whole, on its way, or begun."""
    return is_name(name) or is_part(name) or is_begun(name)
