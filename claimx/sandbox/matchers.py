"""Values of the truth that are known only in part."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson

_FORBIDDEN = set('\\/:*?"<>|%')
_BIDI = {
    "\u200e",
    "\u200f",
    "\u061c",
    *map(chr, range(0x202A, 0x202F)),
    *map(chr, range(0x2066, 0x206A)),
}


@dataclass(frozen=True, slots=True)
class Matcher:
    """A named condition on a value."""

    name: str
    accepts: Callable[[Any], bool]

    def __repr__(self) -> str:
        return self.name


def matches(expected: Any, actual: Any) -> bool:
    """Compare a value of the truth with a stored one; a bool is no number here."""
    if isinstance(expected, Matcher):
        return expected.accepts(actual)
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, float) and isinstance(actual, int | float):
        return abs(expected - actual) <= 1e-9 * max(1.0, abs(expected))
    return bool(expected == actual)


ANY = Matcher("ANY", lambda _: True)
PRESENT = Matcher("PRESENT", lambda value: value is not None)


def one_of(values: Iterable[Any]) -> Any:
    """Return a matcher for any of *values*; the value itself when there is just one."""
    unique: list[Any] = []
    for value in values:
        if not any(value is known or value == known for known in unique):
            unique.append(value)
    if len(unique) == 1:
        return unique[0]
    shown = ", ".join(repr(value) for value in unique[:6]) + (", ..." if len(unique) > 6 else "")
    return Matcher(
        f"ONE_OF({shown})", lambda actual: any(matches(value, actual) for value in unique)
    )


def between(low: int, high: int | None = None) -> Matcher:
    """Match whole numbers from *low* to *high* (None: no end)."""

    def accepts(value: Any) -> bool:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole and value >= low and (high is None or value <= high)

    return Matcher(f"BETWEEN({low}, {'' if high is None else high})", accepts)


def json_ids(*choices: list[str] | None) -> Matcher:
    """Match JSON text of a list of ids (numbers or text) equal to one of *choices*."""

    def accepts(value: Any) -> bool:
        if value is None:
            return None in choices
        try:
            ids = orjson.loads(value)
        except ValueError:
            return False
        return isinstance(ids, list) and [str(one) for one in ids] in choices

    return Matcher(f"JSON_IDS{choices!r}", accepts)


def folded(text: str) -> Matcher:
    """Match *text* in any case."""
    return Matcher(
        f"FOLDED({text!r})",
        lambda value: isinstance(value, str) and value.casefold() == text.casefold(),
    )


def safe_path(folder: str, media_id: str, endings: tuple[str, ...]) -> Matcher:
    """
    Match a blob path below *folder* whose stored name is safe, whatever the original was.

    One path element that begins with the media id; no separators, wildcards, control or
    direction characters; NFC; the name at most 150 bytes; one of *endings* at its end.
    """

    def accepts(value: Any) -> bool:
        if not isinstance(value, str) or not value.startswith(f"{folder}/{media_id}"):
            return False
        stored = value.removeprefix(f"{folder}/")
        name = stored.removeprefix(media_id).removeprefix("_")
        return (
            not any(
                letter in _FORBIDDEN or letter in _BIDI or unicodedata.category(letter) == "Cc"
                for letter in stored
            )
            and unicodedata.normalize("NFC", stored) == stored
            and len(name.encode()) <= 150
            and name not in {".", ".."}
            and stored.lower().endswith(endings)
        )

    return Matcher(f"SAFE_PATH({folder}/{media_id}_…{'|'.join(endings)})", accepts)
