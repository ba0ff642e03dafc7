"""
Values of the source and the API as the lake's types (domain page, sections 2 and 6).

Each converter takes any JSON value, returns None for an empty one (null, blank text), and raises
`Unconvertible`, and nothing else, for one that is not empty and does not fit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeAlias

Converter: TypeAlias = Callable[[Any], Any]

_INT64 = 2**63
_EXACT = 2**53  # below it every whole number is a float
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_NUMBER = re.compile(
    r"[+-]?(?:\d{1,400}(?:\.\d{0,400})?|\.\d{1,400})(?:[eE][+-]?\d{1,3})?", re.ASCII
)
_YES = frozenset(("true", "1", "yes"))
_NO = frozenset(("false", "0", "no"))


class Unconvertible(ValueError):
    """A value that is not empty and cannot become one of the wanted type; never holds the value."""


def clean(raw: str) -> str:
    """Return text without NUL and lone surrogates, trimmed of white space at its ends."""
    if raw.isascii() and "\x00" not in raw:  # nearly all text
        return raw.strip()
    return _UNSTORABLE.sub("", raw).strip()


def text(value: Any) -> str | None:
    """Convert to text; a number stays as it was written."""
    if isinstance(value, str):
        return clean(value) or None
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case int():
            return _digits(value)
        case float() if math.isfinite(value):
            return str(value)  # of a number that remembers how it was written, that writing
        case _:
            raise Unconvertible(type(value).__name__)


def code_text(value: Any) -> str | None:
    """Convert a code (a telephone country code, a custom attribute): as text, but 1.0 is ``1``."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return text(value)


def id_text(value: Any) -> str | None:
    """Convert an id: as text, but a number loses its decimals, and true and false are no ids."""
    if isinstance(value, str):
        return clean(value) or None
    if isinstance(value, bool):
        raise Unconvertible("bool")
    if isinstance(value, float) and math.isfinite(value):
        # a great one that remembers how it was written has more digits than a float
        return str(int(Decimal(str(value)) if abs(value) >= _EXACT else value))
    return text(value)


def integer(value: Any) -> int | None:
    """Convert to a whole number of 64 bits; ``"3.0"`` is 3, 3.7 is none."""
    found: int | None
    match value:
        case None:
            return None
        case int() if not isinstance(value, bool):
            found = value
        case float() if value.is_integer():
            found = int(value)
        case str():
            found = _whole(clean(value))
        case _:
            raise Unconvertible(type(value).__name__)
    if found is not None and not -_INT64 <= found < _INT64:
        raise Unconvertible("beyond 64 bits")
    return found


def double(value: Any) -> float | None:
    """Convert to a finite number."""
    match value:
        case None:
            return None
        case int() | float() if not isinstance(value, bool):
            number: Any = value
        case str():
            number = clean(value)
            if not number:
                return None
            if not _NUMBER.fullmatch(number):
                raise Unconvertible("no number")
        case _:
            raise Unconvertible(type(value).__name__)
    try:
        found = float(number)
    except OverflowError:
        raise Unconvertible("beyond a double") from None
    if not math.isfinite(found):
        raise Unconvertible("not finite")
    return found


def boolean(value: Any) -> bool | None:
    """Convert yes or no: JSON, ``true/1/yes`` and ``false/0/no`` in any case."""
    match value:
        case None | bool():
            return value
        case int() | float() if value in (0, 1):
            return bool(value)
        case str():
            word = clean(value).lower()
            if not word:
                return None
            if word in _YES:
                return True
            if word in _NO:
                return False
            raise Unconvertible("neither yes nor no")
        case _:
            raise Unconvertible(type(value).__name__)


def same_id(one: str, other: str) -> bool:
    """Say whether two ids mean the same, leading zeros aside."""
    return one == other or (
        one.isdecimal() and other.isdecimal() and one.lstrip("0") == other.lstrip("0")
    )


def _digits(number: int) -> str:
    try:
        return str(number)
    except ValueError:  # Python's own bound, some thousand digits
        raise Unconvertible("too many digits") from None


def _whole(written: str) -> int | None:
    if not written:
        return None
    if not _NUMBER.fullmatch(written):
        raise Unconvertible("no number")
    number = Decimal(written)
    whole = int(number)
    if number != whole:
        raise Unconvertible("not whole")
    return whole
