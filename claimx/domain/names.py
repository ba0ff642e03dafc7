"""
Where a media file is stored: a path no two media share, in characters every store takes.

Domain page, sections 3 and 6. The stored name only has to be safe and recognisable; the name as
the API gave it is a column of its own.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from itertools import groupby

MAX_NAME_BYTES = 150
_MAX_EXTENSION_BYTES = 16
_MAX_ID_LENGTH = 64

_SEPARATORS = '\\/:*?"<>|%'
_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))  # controls, bidi marks, surrogates
_DOTS = re.compile(r"\.{2,}")
_RESERVED = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])", re.IGNORECASE
)
_EXTENSION = re.compile(r"\.[A-Za-z0-9]+")

# What most names are: safe as they are, but for reserved ones.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]+([ .][A-Za-z0-9_-]+)*")
# A digit in the last part alone: of two such ids none is the other one with "_..." behind it,
# so what follows the id in a stored name can never make it look like another's.
_PLAIN_ID = re.compile(r"([A-Za-z-]*_)*[A-Za-z-]*[0-9][A-Za-z0-9-]*")
# A separator follows a project's id at once: nothing behind it can make it look like another's.
_PLAIN_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9-]+")

_LONG_NAME = 1000  # characters: in order within two milliseconds, whatever they are


def blob_path(project_id: str, media_id: str, file_name: str | None, extension: str) -> str:
    """
    Return the path below the media root: ``{project_id}/media/{media_id}_{safe name}``.

    Without a name (or with one that leaves nothing) it is ``{media_id}.{extension}``, *extension*
    being that of the content, without dot. Two media of one project never share a path.
    """
    name = safe_name(file_name or "")
    last = f"_{name}" if name else (f".{extension}" if extension else "")
    return f"{folder(project_id)}/media/{segment(media_id)}{last}"


def safe_name(name: str) -> str:
    """
    Return *name* fit to be the end of a path segment anywhere; empty when nothing is left.

    NFC; separators, wildcards, control and bidi characters become ``_``, no ``..``, no reserved
    device name, no blank or dot at its ends, at most 150 bytes of UTF-8 with the extension kept.
    """
    is_plain = len(name) <= MAX_NAME_BYTES and _PLAIN_NAME.fullmatch(name) is not None
    text = name if is_plain else _cleaned(name)
    return _shortened(f"_{text}") if _is_reserved(text) else text


def nfc(text: str) -> str:
    """
    Return *text* in Unicode's NFC, in a time that grows no faster than the text.

    Python puts a run of marks in order in a time that grows with its square, and nothing else runs
    in the process meanwhile, not even what keeps its leases.
    """
    if len(text) <= _LONG_NAME:
        return unicodedata.normalize("NFC", text)
    ordered: list[str] = []
    apart = "".join(unicodedata.normalize("NFD", char) for char in text)
    for _, run in groupby(apart, lambda char: unicodedata.combining(char) > 0):
        ordered += sorted(run, key=unicodedata.combining)  # of letters, all 0, as they stood
    return unicodedata.normalize("NFC", "".join(ordered))


def folder(identifier: str) -> str:
    """Return an id as a whole path segment; see `segment`."""
    return identifier if _is_plain(_PLAIN_FOLDER, identifier) else segment(identifier)


def segment(identifier: str) -> str:
    """
    Return an id as the beginning of a path segment.

    Ordinary ids stay as they are. Any other keeps what is readable of it and gets a hash, so that
    two ids never become one, and no id with anything behind it becomes another.
    """
    if _is_plain(_PLAIN_ID, identifier):
        return identifier
    readable = _NOT_PLAIN.sub("-", identifier[:_MAX_ID_LENGTH]).strip("-")[:32]
    digest = hashlib.sha256(identifier.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{readable}~{digest[:24]}"


def _is_plain(plain: re.Pattern[str], identifier: str) -> bool:
    return (
        len(identifier) <= _MAX_ID_LENGTH
        and plain.fullmatch(identifier) is not None
        and not _is_reserved(identifier)
    )


def _cleaned(name: str) -> str:
    text = "".join(
        "_" if char in _SEPARATORS or unicodedata.category(char) in _INVISIBLE else char
        for char in nfc(name)
    )
    text = _DOTS.sub(lambda dots: "_" * (len(dots[0]) - 1) + ".", text)
    return _shortened(_trimmed(text))


def _trimmed(text: str) -> str:
    end = len(text)  # not a shorter copy for each: an odd name may be a megabyte of blanks
    while end and (text[end - 1] == "." or text[end - 1].isspace()):
        end -= 1
    return text[:end].lstrip()


def _is_reserved(text: str) -> bool:
    return _RESERVED.fullmatch(text.split(".", 1)[0].rstrip()) is not None


def _shortened(text: str) -> str:
    if len(text.encode()) <= MAX_NAME_BYTES:
        return text
    stem, dot, extension = text.rpartition(".")
    ending = dot + extension
    if not stem or len(ending) > _MAX_EXTENSION_BYTES or not _EXTENSION.fullmatch(ending):
        stem, ending = text, ""
    room = MAX_NAME_BYTES - len(ending)
    # a character cut in half is left out
    kept = _trimmed(stem.encode()[:room].decode("utf-8", "ignore"))
    return kept + ending
