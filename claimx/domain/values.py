"""
Values of the source and the API as the lake's types (domain page, sections 2 and 6).

Each converter takes any JSON value, returns None for an empty one (null, blank text), and raises
`Unconvertible`, and nothing else, for one that is not empty and does not fit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeAlias

from claimx.domain.columns import Column, ColumnType
from claimx.domain.times import MICROS_PER_SECOND, Micros, from_datetime

Converter: TypeAlias = Callable[[Any], Any]

EARLIEST: Micros = from_datetime(datetime.min.replace(tzinfo=UTC))
LATEST: Micros = from_datetime(datetime.max.replace(tzinfo=UTC))

_INT64 = 2**63
_EXACT = 2**53  # below it every whole number is a float
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_NUMBER = re.compile(
    r"[+-]?(?:\d{1,400}(?:\.\d{0,400})?|\.\d{1,400})(?:[eE][+-]?\d{1,3})?", re.ASCII
)
_EPOCH = re.compile(r"(?:\d{10}|\d{13})(?:\.\d{0,30})?", re.ASCII)
_ZONE = r"(?P<zone>[Zz]|(?P<sign>[+-])(?P<zone_hour>\d\d)(?::?(?P<zone_minute>\d\d))?)?"
_EXTENDED = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"(?:[Tt ](?P<hour>\d\d):(?P<minute>\d\d)"
    r"(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?"
    rf" ?{_ZONE})?",
    re.ASCII,
)
_BASIC = re.compile(
    r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)"
    r"(?:[Tt](?P<hour>\d\d)(?P<minute>\d\d)"
    r"(?:(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?"
    rf"{_ZONE})?",
    re.ASCII,
)
_HOURS_MINUTES = r"(?:[01]\d|2[0-3]):[0-5]\d"
_USUAL = re.compile(
    rf"\d{{4}}-\d\d-\d\d(?:T{_HOURS_MINUTES}:\d\d(?:\.\d{{1,9}})?(?:Z|[+-]{_HOURS_MINUTES})?)?",
    re.ASCII,
)
_YES = frozenset(("true", "1", "yes"))
_NO = frozenset(("false", "0", "no"))
_SECONDS_DIGITS = range(10**9, 10**10)  # ten digits are epoch seconds, the years 2001 to 2286
_DAY_HOURS = 24
_HOUR_MINUTES = 60


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


def time(value: Any) -> Micros | None:
    """
    Convert to microseconds UTC: ISO 8601 (no zone is UTC, a day is its midnight) or epoch.

    Of numbers, those of ten digits are epoch seconds and all others milliseconds; in text, only
    ten and thirteen digits are a time. Digits beyond the microsecond are cut.
    """
    found: Micros | None
    if isinstance(value, str):  # nearly all that there are, and nearly all as everybody writes them
        found = usual_time(value)
        if found is None:
            written = clean(value)
            if not written:
                return None
            found = _of_text(written)
    else:
        match value:
            case None:
                return None
            case datetime():
                found = from_datetime(value)
            case int() if not isinstance(value, bool):
                found = _of_epoch(value)
            case float() if math.isfinite(value):
                found = _of_epoch(Decimal(float.__repr__(value)))
            case _:
                raise Unconvertible(type(value).__name__)
    if not EARLIEST <= found <= LATEST:
        raise Unconvertible("beyond the years 1 to 9999")
    return found


def same_id(one: str, other: str) -> bool:
    """Say whether two ids mean the same, leading zeros aside."""
    return one == other or (
        one.isdecimal() and other.isdecimal() and one.lstrip("0") == other.lstrip("0")
    )


def converter_of(column: Column) -> Converter:
    """Return the converter that a column's type and name ask for."""
    if column.type is not ColumnType.TEXT:
        return _BY_TYPE[column.type]
    if column.name.endswith("_id"):
        return id_text
    if column.name.endswith("country_code") or column.name.startswith("custom_attribute"):
        return code_text
    return text


_BY_TYPE: Mapping[ColumnType, Converter] = {
    ColumnType.INTEGER: integer,
    ColumnType.DOUBLE: double,
    ColumnType.BOOLEAN: boolean,
    ColumnType.TIME: time,
    ColumnType.DAY: text,  # only our own rows have one, already in ISO form
}


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


def _of_epoch(number: int | Decimal) -> Micros:
    if not -(10**15) < number < 10**15:  # milliseconds beyond the year 9999, either way
        raise Unconvertible("no epoch time")
    seconds = abs(int(number)) in _SECONDS_DIGITS
    return int(number * (MICROS_PER_SECOND if seconds else 1000))


def usual_time(written: str) -> Micros | None:
    """
    Return a time as nearly everybody writes it, else None.

    That is ``2026-01-31``, and ``2026-01-31T12:00:00`` with or without a fraction and a zone. What
    this reads, `any_time` reads the same, at five times the cost.
    """
    if _USUAL.fullmatch(written) is None:
        return None
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        return None
    return from_datetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _of_text(written: str) -> Micros:
    usual = usual_time(written)
    return any_time(written) if usual is None else usual


def any_time(written: str) -> Micros:
    """Return a time in any of the forms that are read; raises Unconvertible for what is none."""
    if _EPOCH.fullmatch(written):
        return _of_epoch(int(written) if written.isdecimal() else Decimal(written))
    found = _EXTENDED.fullmatch(written) or _BASIC.fullmatch(written)
    if found is None:
        raise Unconvertible("no time")
    part = found.groupdict()
    try:
        moment = datetime(
            int(part["year"]),
            int(part["month"]),
            int(part["day"]),
            int(part["hour"] or 0),
            int(part["minute"] or 0),
            int(part["second"] or 0),
            int((part["fraction"] or "")[:6].ljust(6, "0")),
            UTC,
        )
    except ValueError:
        raise Unconvertible("no such time") from None
    hours, minutes = int(part["zone_hour"] or 0), int(part["zone_minute"] or 0)
    if hours >= _DAY_HOURS or minutes >= _HOUR_MINUTES:
        raise Unconvertible("no such zone")
    ahead = (hours * _HOUR_MINUTES + minutes) * 60 * MICROS_PER_SECOND
    return from_datetime(moment) + (ahead if part["sign"] == "-" else -ahead)
